"""Attributes: what can be given, how it is held, and what is refused."""

from dataclasses import FrozenInstanceError
from ipaddress import IPv4Network, IPv6Network

import pytest
from lab_router import router_graph

from scout.paths.model.attributes import Attributes
from scout.paths.model.router import GraphError


@pytest.mark.parametrize(
    ("given", "held"),
    [
        ({"destination": "10.0.1.0/24"}, {"destination": IPv4Network("10.0.1.0/24")}),
        ({"source": IPv6Network("2001:db8::/32")}, {"source": IPv6Network("2001:db8::/32")}),
        ({"destination": "10.0.1.7"}, {"destination": IPv4Network("10.0.1.7/32")}),
        ({"protocol": "UDP"}, {"protocol": 17}),
        ({"protocol": 0}, {"protocol": 0}),
        ({"source_port": 0}, {"source_port": range(1)}),
        ({"destination_port": range(5000, 5010)}, {"destination_port": range(5000, 5010)}),
        ({"destination_port": 65535}, {"destination_port": range(65535, 65536)}),
        ({"dscp": 0}, {"dscp": 0}),
    ],
)
def test_attributes_of_packets_are_held_in_one_form(given, held):
    made = Attributes.checked("left", **given)
    assert made.traffic == held
    assert made == Attributes.checked("left", **held)
    assert hash(made) == hash(Attributes.checked("left", **held))


def test_a_path_without_attributes_takes_all_packets():
    attributes = router_graph().create_path("left").attributes
    assert attributes == Attributes("left")
    assert attributes.traffic == {} and attributes.family is None and str(attributes) == "all packets"


def test_attributes_are_the_paths():
    path = router_graph().create_path("left", order="channel", weight=3, deadline=0.5, destination="10.0.1.0/24")
    assert (path.source, path.release_order, path.weight, path.deadline) == ("left", "channel", 3, 500_000_000)
    assert path.attributes.family == 4
    with pytest.raises(FrozenInstanceError):
        path.attributes.weight = 4


def test_egress_limits_where_packets_leave():
    path = router_graph().create_path("left", egress="right")
    assert "to right" in path and "to left" not in path
    assert path.attributes.egress == ("right",)
    assert path.attributes.traffic == {}  # it decides where packets may leave, and not which packets enter


def test_attributes_read_as_text():
    made = Attributes.checked(
        "left", destination="10.0.1.0/24", protocol="tcp", destination_port=range(80, 90), dscp=6, egress=["a", "b"]
    )
    assert str(made) == "destination 10.0.1.0/24, protocol tcp, destination port 80 to 89, dscp 6, egress a or b"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"to": ["right"]}, ["left", "'to'", "egress"]),
        ({"destination": "10.0.1.1/24"}, ["destination", "10.0.1.1/24", "host bits"]),
        ({"destination": "home"}, ["destination", "'home'", "10.0.1.0/24"]),
        ({"source": 10}, ["source=10", "prefix"]),
        ({"destination": "10.0.0.0/8", "source": "2001:db8::/32"}, ["10.0.0.0/8", "2001:db8::/32", "famil"]),
        ({"protocol": 256}, ["protocol=256", "255"]),
        ({"protocol": "quic"}, ["'quic'", "udp"]),
        ({"protocol": "icmp", "destination_port": 53}, ["protocol 1", "destination_port"]),
        ({"destination_port": 65536}, ["65536", "65535"]),
        ({"destination_port": range(10, 10)}, ["range(10, 10)", "range(5000, 5010)"]),
        ({"source_port": range(0, 100, 2)}, ["source_port", "range"]),
        ({"source_port": True}, ["source_port=True"]),
        ({"dscp": 64}, ["dscp=64", "63"]),
        ({"order": "random"}, ["'random'", "channel"]),
        ({"weight": 0}, ["weight=0", "at least 1"]),
        ({"weight": 1.5}, ["weight=1.5"]),
        ({"deadline": -1}, ["deadline=-1"]),
        ({"deadline": float("nan")}, ["deadline=nan"]),
        ({"egress": 7}, ["egress=7"]),
        ({"order": None}, ["order=None"]),
    ],
)
def test_what_cannot_be_an_attribute_is_refused(given, words):
    with pytest.raises(GraphError) as caught:
        router_graph().create_path("left", **given)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
