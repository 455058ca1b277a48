"""Chooses the few images to take out so that those that show parts of one another fall into small groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_EVEN = 0.8
"""A node that leaves a larger share of its component in one piece divides nothing; then the densest part is thinned."""

Links = Mapping[int, set[int]]


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph taken apart.

    Attributes:
        ties: the nodes taken out, ascending, each with its neighbours in the whole graph, ascending.
        components: what still hangs together without them, two nodes or more each, sorted. No edge leads from one to
            another or to a node outside, but for ties.
    """

    ties: dict[int, tuple[int, ...]]
    components: list[list[int]]


def cut_ties(edges: Iterable[tuple[int, int]], sizes: Mapping[int, int], limit: int) -> Cut:
    """Take out nodes until no component of two nodes or more holds more than `limit` images.

    To take out the fewest is a hard problem; this is a good guess. A component that is too large loses the node that
    divides it most evenly for the images lost, or, where none divides it, the node with most edges in its net of
    rings (what is left when loose ends are taken off again and again) for the images lost. At the end every node that
    fits comes back, the largest first. The result does not depend on the order of the edges.

    Args:
        edges: pairs of different nodes, in either order; twice the same does no harm.
        sizes: images (1 or more) of every node that has an edge.
        limit: most images of a component; a single node may hold more.
    """
    links: dict[int, set[int]] = defaultdict(set)
    for one, other in edges:
        links[one].add(other)
        links[other].add(one)
    waiting = _components(links, links)
    small: list[list[int]] = []
    taken: list[int] = []
    while waiting:
        component = waiting.pop()
        if len(component) == 1 or sum(sizes[node] for node in component) <= limit:
            small.append(component)
            continue
        tie = _choose(links, component, sizes)
        taken.append(tie)
        waiting += _components(links, [node for node in component if node != tie])
    ties = _put_back(links, small, taken, sizes, limit)
    inside = [node for node in links if node not in ties]
    components = sorted(found for found in _components(links, inside) if len(found) > 1)
    return Cut({tie: tuple(sorted(links[tie])) for tie in sorted(ties)}, components)


def _components(links: Links, nodes: Iterable[int]) -> list[list[int]]:
    """Connected components of the graph between `nodes`, each sorted."""
    left = set(nodes)
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        left.remove(start)
        component = [start]
        for node in component:  # grows as it is walked
            new = links[node] & left
            left -= new
            component += new
        found.append(sorted(component))
    return found


def _choose(links: Links, component: list[int], sizes: Mapping[int, int]) -> int:
    """The node of a component that is too large to take out next."""
    total = sum(sizes[node] for node in component)
    largest = _largest_pieces(links, component, sizes)
    parted = {node: (total - sizes[node] - largest[node]) / sizes[node] for node in component}
    best = max(component, key=lambda node: (parted[node], -sizes[node], -node))
    ringed = _in_rings(links, component)
    if largest[best] <= _EVEN * total or not ringed:
        return best
    return max(ringed, key=lambda node: (ringed[node] / sizes[node], -node))


def _largest_pieces(links: Links, component: list[int], sizes: Mapping[int, int]) -> dict[int, int]:
    """Node -> images of the largest piece that is left of the component without it.

    One walk in depth: what hangs below a child whose subtree reaches no higher than the node comes off with the node.
    """
    inside = set(component)
    root = component[0]
    entered, highest, below = {root: 0}, {root: 0}, {root: sizes[root]}
    largest, loose = dict.fromkeys(component, 0), dict.fromkeys(component, 0)
    path: list[tuple[int, Iterator[int]]] = [(root, iter(sorted(links[root] & inside)))]
    while path:
        node, children = path[-1]
        child = next(children, None)
        if child is None:
            path.pop()
            if not path:
                break
            parent = path[-1][0]
            highest[parent] = min(highest[parent], highest[node])
            below[parent] += below[node]
            if highest[node] >= entered[parent]:
                largest[parent] = max(largest[parent], below[node])
                loose[parent] += below[node]
        elif child in entered:
            highest[node] = min(highest[node], entered[child])
        else:
            entered[child] = highest[child] = len(entered)
            below[child] = sizes[child]
            path.append((child, iter(sorted(links[child] & inside))))
    total = below[root]
    return {node: max(largest[node], total - sizes[node] - loose[node]) for node in component}


def _in_rings(links: Links, component: list[int]) -> dict[int, int]:
    """The nodes that stay when those with a single edge are taken off until there is none -> their edges left."""
    inside = set(component)
    degrees = {node: len(links[node] & inside) for node in component}
    ends = [node for node in component if degrees[node] < 2]
    while ends:
        end = ends.pop()
        inside.remove(end)
        for node in links[end] & inside:
            degrees[node] -= 1
            if degrees[node] == 1:
                ends.append(node)
    return {node: degrees[node] for node in sorted(inside)}


def _put_back(links: Links, small: list[list[int]], taken: list[int], sizes: Mapping[int, int], limit: int) -> set[int]:
    """What stays out of the nodes `taken` when each that fits between the small components comes back."""
    home = {node: component[0] for component in small for node in component}
    members = {component[0]: component for component in small}
    ties = set()
    for node in sorted(taken, key=lambda node: (-sizes[node], node)):
        beside = sorted({home[other] for other in links[node] if other in home})
        joined = [node, *(other for name in beside for other in members[name])]
        if beside and sum(sizes[other] for other in joined) > limit:
            ties.add(node)
            continue
        for name in beside:
            del members[name]
        members[node] = joined
        home.update(dict.fromkeys(joined, node))
    return ties
