# The public names, each with the module that it is imported from when it is first used (`scout.__getattr__`).

from scout.control_socket.server import ControlSocket as ControlSocket
from scout.io.access import (
    add16 as add16,
    length as length,
    load8 as load8,
    load16 as load16,
    load32 as load32,
    load48 as load48,
    load64 as load64,
    require as require,
    store8 as store8,
    store16 as store16,
    store32 as store32,
    store48 as store48,
    store64 as store64,
    sum16 as sum16,
    trim as trim,
)
from scout.io.host.lab import Lab as Lab
from scout.io.ports.afpacket import AfPacketPort as AfPacketPort
from scout.io.ports.applications import ApplicationPort as ApplicationPort
from scout.io.ports.memory import MemoryPort as MemoryPort
from scout.io.ports.pcap import PcapPort as PcapPort
from scout.io.ports.tap_device import TapPort as TapPort
from scout.loader import load_router as load_router
from scout.paths.compiler.interpreter import try_stage as try_stage
from scout.paths.framework.events import (
    ARRIVAL as ARRIVAL,
    HALT as HALT,
    Event as Event,
    Handler as Handler,
    raise_event as raise_event,
)
from scout.paths.framework.service import Service as Service
from scout.paths.framework.state import (
    add_to as add_to,
    clear as clear,
    exchange_in as exchange_in,
    load_from as load_from,
    store_to as store_to,
)
from scout.paths.framework.flow_table import (
    EVICT as EVICT,
    FOREVER as FOREVER,
    REFUSE as REFUSE,
    claim as claim,
    find as find,
    new_table as new_table,
    place as place,
    remove as remove,
    rows as rows,
)
from scout.paths.framework.timers import (
    after as after,
    cancel as cancel,
)
from scout.paths.limit import within as within
from scout.paths.model.ahead import ahead as ahead
from scout.paths.model.attributes import Attributes as Attributes
from scout.paths.changes.values import SetValue as SetValue
from scout.paths.model.change import Change as Change
from scout.paths.model.graph import RouterGraph as RouterGraph
from scout.paths.model.path import Path as Path
from scout.paths.model.router import Router as Router
from scout.paths.model.rule import Rule as Rule
from scout.paths.model.setting import Setting as Setting
from scout.paths.model.stage import (
    Emission as Emission,
    Exit as Exit,
    Outcome as Outcome,
    Stage as Stage,
    To as To,
    Via as Via,
)
from scout.paths.model.table import Table as Table
from scout.paths.model.verdict import (
    HOLD as HOLD,
    drop as drop,
)
from scout.paths.protocols.applications import Applications as Applications
from scout.paths.protocols.arp import Arp as Arp
from scout.paths.changes.addresses import AddAddress as AddAddress
from scout.paths.changes.addresses import DeleteAddress as DeleteAddress
from scout.paths.changes.mtus import SetMtu as SetMtu
from scout.paths.changes.neighbours import (
    DeleteNeighbour as DeleteNeighbour,
    ForgetNeighbours as ForgetNeighbours,
    SetNeighbour as SetNeighbour,
)
from scout.paths.changes.paths import CreatePath as CreatePath
from scout.paths.changes.paths import DeletePath as DeletePath
from scout.paths.changes.ports import AddPort as AddPort
from scout.paths.changes.ports import DeletePort as DeletePort
from scout.paths.changes.routes import (
    AddRoute as AddRoute,
    DeleteRoute as DeleteRoute,
    ReplaceRoute as ReplaceRoute,
)
from scout.paths.protocols.ethernet import Ethernet as Ethernet
from scout.paths.protocols.icmp import Icmp as Icmp
from scout.paths.protocols.ipv4 import Ip as Ip
from scout.paths.protocols.tcp.router import Tcp as Tcp
from scout.paths.protocols.udp import Udp as Udp
from scout.paths.services.balancer import LoadBalancer as LoadBalancer
from scout.paths.services.conntrack import ConnectionTracking as ConnectionTracking
from scout.paths.services.counter import Counter as Counter
from scout.paths.services.ddos import DdosMitigator as DdosMitigator
from scout.paths.services.heavy_hitter import HeavyHitter as HeavyHitter
from scout.paths.services.napt import Napt as Napt
from scout.paths.services.port_knocking import PortKnocking as PortKnocking
from scout.paths.services.token_bucket import TokenBucket as TokenBucket
from scout.paths.stages.discard import Discard as Discard
from scout.paths.stages.filter import Filter as Filter
from scout.paths.stages.impair import Impair as Impair
from scout.paths.stages.requests import (
    End as End,
    Requests as Requests,
)
from scout.paths.stages.flow_paths import FlowPaths as FlowPaths
from scout.paths.stages.tee import Tee as Tee
from scout.paths.wire.flow import (
    five_tuple as five_tuple,
    flow_hash as flow_hash,
)
from scout.paths.wire.segments import segments as segments
from scout.ring.channel import Channel as Channel
from scout.ring.errors import ScoutError as ScoutError
from scout.supervisor import Supervisor as Supervisor
