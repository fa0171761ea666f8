"""Pictures: complete, legible (nothing on top of anything else), the same every time, and safe to quote."""

import os
import struct
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import GRAPHS, ipv4_path, router_graph, with_cycle

from scout.ring.errors import ScoutError
from scout.tools.drawing.draw import draw
from scout.tools.drawing.geometry import Layout
from scout.tools.drawing.graphviz import dot
from scout.tools.drawing.layout import layout
from scout.tools.drawing.mermaid import mermaid
from scout.tools.drawing.palette import FAINT, INK, node_paints, router_colours


def texts(graph: nx.DiGraph) -> set[str]:
    """Everything that a picture of the graph has to say, rates apart."""
    said = {data.get("label", node) for node, data in graph.nodes(data=True)}
    said |= {data.get("note", "") for _, data in graph.nodes(data=True)}
    said |= {data.get(key, "") for _, _, data in graph.edges(data=True) for key in ("service", "outcome")}
    return said - {""}


def svg_texts(path: Path) -> set[str]:
    return {element.text or "" for element in ElementTree.parse(path).iter() if element.tag.endswith("}text")}


def overlaps(plan: Layout) -> list[object]:
    """Boxes too near to each other, and edges that run through a box that is not their own."""
    found: list[object] = [
        (a, b) for (a, box), (b, other) in combinations(plan.boxes.items(), 2) if box.overlaps(other, 3)
    ]
    for edge, route in plan.routes.items():
        for node, box in plan.boxes.items():
            if node not in edge and any(
                abs(x - box.x) < box.w / 2 and abs(y - box.y) < box.h / 2 for x, y in route.sampled(50)
            ):
                found.append((edge, node))
    return found


@pytest.mark.parametrize("graph", [make() for make in GRAPHS], ids=[make.__name__ for make in GRAPHS])
class TestEveryGraph:
    def test_every_format_says_everything(self, graph, tmp_path):
        for suffix in (".svg", ".png", ".dot", ".mmd"):
            draw(graph, tmp_path / f"graph{suffix}", title="All of it")
        routers = {router for _, router in graph.nodes(data="router")}
        assert texts(graph) | routers | {"All of it"} <= svg_texts(tmp_path / "graph.svg")
        for text in texts(graph) | {"All of it"}:
            assert text in (tmp_path / "graph.dot").read_text()
            assert text in (tmp_path / "graph.mmd").read_text()

    def test_the_png_is_two_pixels_a_point(self, graph, tmp_path):
        draw(graph, tmp_path / "graph.png")
        content = (tmp_path / "graph.png").read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">I", content[16:20])[0] == pytest.approx(2 * layout(graph).width, abs=2)

    def test_nothing_lies_on_anything_else(self, graph):
        plan = layout(graph)
        assert plan.boxes.keys() == set(graph) and plan.routes.keys() == set(graph.edges)
        assert not overlaps(plan)
        labels = [route.label for route in plan.routes.values() if route.label]
        assert len(labels) == sum("service" in data or "outcome" in data for _, _, data in graph.edges(data=True))
        assert not any(a.overlaps(b) for a, b in combinations(labels, 2))
        assert not any(label.overlaps(box) for label in labels for box in plan.boxes.values())

    def test_everything_is_inside_the_picture(self, graph):
        plan = layout(graph)
        for box in [*plan.boxes.values(), *(route.label for route in plan.routes.values() if route.label)]:
            assert box.left >= 0 and box.right <= plan.width and box.top >= 0 and box.bottom <= plan.height

    def test_edges_meet_the_borders_of_their_boxes(self, graph):
        plan = layout(graph)
        for (source, target), route in plan.routes.items():
            first, last = (target, source) if route.back else (source, target)
            (x, y), box = route.curve[0], plan.boxes[first]
            hangs = y == box.bottom and box.left < x < box.right
            assert hangs or (box.right - box.h / 2 <= x <= box.right and abs(y - box.y) < box.h / 2)
            (x, y), box = route.curve[-1], plan.boxes[last]
            assert box.left <= x <= box.left + box.h / 2 and abs(y - box.y) < box.h / 2


@st.composite
def graphs(draw_one):
    """Draw a graph of any shape: cycles, lone nodes, drops with successors, several inputs."""
    kinds = draw_one(st.lists(st.sampled_from(["stage", "port", "drop", "router"]), min_size=1, max_size=14))
    nodes = st.integers(0, len(kinds) - 1)
    edges = draw_one(st.lists(st.tuples(nodes, nodes, st.booleans()), max_size=30))
    graph = nx.DiGraph()
    for i, kind in enumerate(kinds):
        graph.add_node(f"stage {i}", router=f"router {i % 9}", kind=kind)
    for source, target, main in edges:
        if source != target:
            graph.add_edge(f"stage {source}", f"stage {target}", service="ipv4", main=main)
    return graph


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_no_graph_makes_boxes_or_edges_collide(graph):
    plan = layout(graph)
    assert plan.boxes.keys() == set(graph) and plan.routes.keys() == set(graph.edges)
    assert not overlaps(plan)


def test_the_main_line_is_one_row():
    boxes = layout(ipv4_path()).boxes
    line = ["r0 in", "left.in", "ip.check", "ip.lookup", "ip.ttl", "arp.resolve", "right.out", "r1 out"]
    assert len({boxes[node].y for node in line}) == 1
    assert [boxes[node].x for node in line] == sorted(boxes[node].x for node in line)


def test_an_edge_of_the_main_line_that_skips_a_layer_is_straight_too():
    route = layout(ipv4_path()).routes["ip.lookup", "ip.ttl"]
    assert len({y for _, y in route.curve}) == 1


def test_drops_hang_small_under_their_stage():
    boxes = layout(ipv4_path()).boxes
    drop, stage = boxes["ttl 0"], boxes["ip.ttl"]
    assert drop.top > stage.bottom and stage.left < drop.left and drop.right <= stage.right
    assert drop.h < stage.h


def test_the_picture_grows_with_the_graph():
    def chain(length: int) -> nx.DiGraph:
        graph = nx.path_graph(length, create_using=nx.DiGraph)
        nx.set_node_attributes(graph, "ip", "router")
        return graph

    assert layout(chain(12)).width > 3 * layout(chain(4)).width - 50


def test_undirected_edges_have_no_heads(tmp_path):
    graph = router_graph()
    head = "fill: #707070"
    draw(graph, tmp_path / "graph.svg")
    assert head not in (tmp_path / "graph.svg").read_text()
    assert dot(graph).startswith("graph {") and '"left" -- "arp"' in dot(graph)
    assert '---|"arp"|' in mermaid(graph)

    graph.graph["undirected"] = False
    draw(graph, tmp_path / "graph.svg")
    assert head in (tmp_path / "graph.svg").read_text()
    assert dot(graph).startswith("digraph {") and '"left" -> "arp"' in dot(graph)
    assert '-->|"arp"|' in mermaid(graph)


def test_an_edge_back_points_at_its_target():
    plan = layout(with_cycle())
    back = plan.routes["left.out", "r0 in"]
    assert back.back and plan.boxes["r0 in"].x < plan.boxes["left.out"].x
    assert not plan.routes["r0 in", "left.in"].back


def test_routers_have_the_same_colour_in_every_graph_of_them():
    def colour(text: str, node: str) -> str:
        return next(line for line in text.splitlines() if f'"{node}" [' in line).split(' color="')[1][:7]

    assert colour(dot(ipv4_path()), "ip.check") == colour(dot(router_graph()), "ip")
    assert colour(dot(ipv4_path()), "ip.check") != colour(dot(ipv4_path()), "arp.input")


def test_a_part_of_a_graph_has_the_colours_of_the_whole():
    whole = ipv4_path()
    part = whole.subgraph(["icmp.echo", "ip.ttl", "right.out"]).copy()
    assert router_colours(part) != {name: router_colours(whole)[name] for name in ("icmp", "ip", "right")}
    part.graph["routers"] = ["arp", "icmp", "ip", "left", "right"]
    assert router_colours(part) == {name: router_colours(whole)[name] for name in ("icmp", "ip", "right")}


def test_an_end_is_no_drop_and_belongs_to_no_router():
    path = ipv4_path()
    path.add_node("learnt", kind="end", router="drop", label="learnt")
    path.add_edge("arp.input", "learnt")
    path.nodes["ttl 0"]["router"] = "drop"
    paints = node_paints(path)
    assert paints["learnt"] == ("#FFFFFF", INK, False)
    assert paints["ttl 0"][1] == FAINT
    assert "drop" not in router_colours(path)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 pps"),
        (3.14159, "3.14 pps"),
        (812_345, "812 kpps"),
        (999_999, "1 Mpps"),
        (14.88e6, "14.9 Mpps"),
    ],
)
def test_rates_have_three_digits(rate, text):
    graph = nx.DiGraph([("a", "b", {"rate": rate})])
    nx.set_node_attributes(graph, "ip", "router")
    assert f'"{text}"' in mermaid(graph)


def test_a_higher_rate_makes_a_thicker_line():
    def width(rate: float) -> float:
        graph = nx.DiGraph([("a", "b", {"rate": rate})])
        nx.set_node_attributes(graph, "ip", "router")
        return float(dot(graph).split("penwidth=")[1].split("]")[0])

    assert width(0) < width(1e3) < width(1e6)
    assert width(1e6) - width(1e5) == pytest.approx(width(1e5) - width(1e4), abs=0.11)


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    """Also in another process with another order of sets, and under another user's settings of matplotlib."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import matplotlib; matplotlib.rcParams['font.size'] = 20;"
        "from test_draw import *; [draw(with_cycle(), f'{sys.argv[2]}{s}') for s in sys.argv[3:]]"
    )
    suffixes = [".svg", ".png", ".dot", ".mmd"]
    arguments = [str(Path(__file__).parent), str(tmp_path / "other"), *suffixes]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", program, *arguments], env=environment, check=True)
    for suffix in suffixes:
        draw(with_cycle(), tmp_path / f"here{suffix}")
        here = (tmp_path / f"here{suffix}").read_bytes()
        assert here == (tmp_path / f"other{suffix}").read_bytes()


def test_a_browser_without_our_font_takes_another_without_serifs(tmp_path):
    draw(router_graph(), tmp_path / "graph.svg")
    assert "'DejaVu Sans', 'Verdana', 'Arial', sans-serif" in (tmp_path / "graph.svg").read_text()


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    with matplotlib.rc_context({"font.size": 20}):
        draw(router_graph(), tmp_path / "graph.svg")
        assert matplotlib.rcParams["font.size"] == 20


ODD = ['say "hi"', "back\\slash\\", "<b>&amp;</b>", "$x_1$", "`code` #35;", "a --> b |c|", "end", "Größe"]


def odd_graph() -> nx.DiGraph:
    graph = nx.DiGraph()
    for name, following in zip(ODD, ODD[1:] + ODD[:1], strict=True):
        graph.add_node(name, router=name, note=name)
        graph.add_edge(name, following, service=following, outcome=name)
    return graph


def test_odd_names_are_whole_in_svg(tmp_path):
    draw(odd_graph(), tmp_path / "odd.svg", title=ODD[0])
    assert set(ODD) <= svg_texts(tmp_path / "odd.svg")


def test_odd_names_are_quoted_in_dot():
    text = dot(odd_graph(), title='a "title"\\')
    assert r'"say \"hi\"" -> "back\\slash\\"' in text
    assert r'label="a \"title\"\\"' in text


def test_odd_names_are_entities_in_mermaid():
    text = mermaid(odd_graph(), title='a "title"')
    assert text.startswith('---\ntitle: "a \\"title\\""\n---\n')
    assert 'n0("say #34;hi#34;<br>say #34;hi#34;")' in text
    assert "#60;b#62;#38;amp;#60;/b#62;" in text
    assert "#96;code#96; #35;35;" in text


def test_a_name_is_one_printable_line(tmp_path):
    graph = nx.DiGraph()
    graph.add_node("two\nlines", router="ip")
    graph.add_node("bell\x07", router="ip")
    graph.add_node("", router="ip")
    draw(graph, tmp_path / "graph.svg")
    assert {"two lines", "bell\N{REPLACEMENT CHARACTER}", "?"} <= svg_texts(tmp_path / "graph.svg")
    assert '"two lines"' in dot(graph) and '"two lines"' in mermaid(graph)


@pytest.mark.parametrize("name", ["graph.pdf", "graph"])
def test_another_suffix_is_an_error_that_lists_the_four(tmp_path, name):
    with pytest.raises(ScoutError, match=r"\.svg, \.png, \.dot or \.mmd"):
        draw(router_graph(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["svg", "dot"])
def test_a_file_that_cannot_be_written_is_an_error(tmp_path, suffix):
    with pytest.raises(ScoutError, match=r"there is no folder .*; make it, or name another"):
        draw(router_graph(), tmp_path / "missing" / f"graph.{suffix}")


@pytest.mark.parametrize("render", [layout, dot, mermaid])
def test_a_graph_that_cannot_be_drawn_is_an_error(render):
    with pytest.raises(ScoutError, match="nothing to draw"):
        render(nx.DiGraph())
    with pytest.raises(ScoutError, match=r"ip\.check: the node has no router"):
        render(nx.DiGraph([("ip.check", "ip.lookup")]))
    graph = nx.DiGraph()
    graph.add_node("ip.check", router="ip", kind="blob")
    with pytest.raises(ScoutError, match=r"ip\.check: unknown kind 'blob'; use stage, port, drop, end, router"):
        render(graph)


def test_an_edge_to_itself_is_for_the_other_formats():
    graph = nx.DiGraph([("ip", "ip")])
    nx.set_node_attributes(graph, "ip", "router")
    with pytest.raises(ScoutError, match=r"ip: an edge to itself .* \.dot or \.mmd"):
        layout(graph)
    assert '"ip" -> "ip"' in dot(graph) and "n0 --> n0" in mermaid(graph)
