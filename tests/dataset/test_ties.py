"""Graphs small enough to be taken apart by hand, and properties of larger ones."""

from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from defectctl.dataset.ties import cut_ties

TRIANGLES = [(0, 1), (1, 2), (0, 2), (4, 5), (5, 6), (4, 6)]


def chain(count):
    return [(node, node + 1) for node in range(count - 1)]


def ones(edges):
    return {node: 1 for edge in edges for node in edge}


def taken_apart(edges, limit, sizes=None):
    cut = cut_ties(edges, ones(edges) | (sizes or {}), limit)
    return cut.ties, cut.components


def test_the_node_that_joins_two_triangles_is_taken_out():
    edges = [*TRIANGLES, (2, 3), (3, 4)]
    assert taken_apart(edges, 3) == ({3: (2, 4)}, [[0, 1, 2], [4, 5, 6]])
    assert taken_apart(edges, 7) == ({}, [[0, 1, 2, 3, 4, 5, 6]])


def test_a_chain_of_crops_stays_together_where_it_fits_and_else_breaks_in_the_middle():
    assert taken_apart(chain(5), 5) == ({}, [[0, 1, 2, 3, 4]])
    assert taken_apart(chain(5), 4) == ({2: (1, 3)}, [[0, 1], [3, 4]])
    assert taken_apart(chain(3), 1) == ({1: (0, 2)}, [])


def test_a_star_loses_its_middle():
    star = [(9, leaf) for leaf in range(6)]
    assert taken_apart(star, 3) == ({9: (0, 1, 2, 3, 4, 5)}, [])


def test_a_ring_without_any_dividing_node_is_cut_twice():
    ring = [*chain(6), (5, 0)]
    assert taken_apart(ring, 2) == ({0: (1, 5), 3: (2, 4)}, [[1, 2], [4, 5]])


def test_of_two_nodes_that_divide_the_one_of_fewer_images_goes():
    bridge = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (3, 5)]
    assert taken_apart(bridge, 6, {3: 4}) == ({2: (0, 1, 3)}, [[0, 1], [3, 4, 5]])
    assert taken_apart(bridge, 6, {2: 4}) == ({3: (2, 4, 5)}, [[0, 1, 2], [4, 5]])


def test_a_crop_of_which_two_mosaics_are_made_goes_rather_than_both_mosaics():
    strips = [(0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8)]
    mosaics = [(20, 1), (20, 4), (21, 4), (21, 7)]
    assert taken_apart(strips + mosaics, 4) == ({4: (3, 5, 20, 21)}, [[0, 1, 2, 20], [6, 7, 8, 21]])


def test_no_edge_is_nothing_and_a_node_larger_than_the_limit_may_stand_alone():
    assert taken_apart([], 20) == ({}, [])
    assert taken_apart([(0, 1)], 20, {0: 50}) == ({1: (0,)}, [])


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_fall_into_small_groups_and_no_tie_is_needless(seed):
    rng = random.Random(seed)
    edges = list({tuple(sorted(rng.sample(range(150), 2))) for _ in range(rng.choice([120, 200, 400]))})
    sizes = {node: rng.randint(1, 8) for node in range(150)}
    cut = cut_ties(edges, sizes, 40)
    home = grouping([edge for edge in edges if not set(edge) & set(cut.ties)])
    images = np.bincount(home, weights=[0 if node in cut.ties else sizes[node] for node in range(150)])
    assert images.max() <= 40 and cut.ties
    groups = defaultdict(list)
    for node in range(150):
        groups[home[node]].append(node)
    assert cut.components == sorted(found for found in groups.values() if len(found) > 1)
    for tie, beside in cut.ties.items():
        assert beside == tuple(sorted({a + b - tie for a, b in edges if tie in (a, b)}))
        around = {home[node] for node in beside if node not in cut.ties}
        assert sizes[tie] + sum(images[number] for number in around) > 40
    rng.shuffle(edges)
    assert cut_ties([edge[::-1] for edge in edges], sizes, 40) == cut


def test_a_long_chain_needs_no_deep_recursion():
    ties, components = taken_apart(chain(3000), 1500)
    assert len(ties) == 1 and sum(map(len, components)) == 2999


def grouping(edges):
    rows, columns = np.array(edges).T
    return connected_components(coo_matrix((np.ones(len(edges)), (rows, columns)), (150, 150)), directed=False)[1]
