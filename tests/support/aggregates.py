"""Fold metrics into the summaries of an interval, as mode `aggregate` delivers them."""

import json
import random

import msgspec

from metrics_stream.core.delivery.aggregation import Interval
from metrics_stream.core.delivery.selection import DecodedMetric, compile_projection
from metrics_stream.core.metrics.catalogue import Catalogue
from metrics_stream.core.metrics.encoding import encode_metric
from metrics_stream.core.metrics.percentiles import rank_of, share_of
from metrics_stream.core.metrics.sketch import Sketch
from metrics_stream.core.protocol.messages import Filters

TYPES = Catalogue().types


def metric(data, metric_type="system", source="host1", timestamp=1_700_000_000.0, run=None):
    made = encode_metric(TYPES[metric_type], data, timestamp=timestamp, source=source, max_bytes=10**6)
    return made if run is None else msgspec.structs.replace(made, body=made.body[:-1] + b',"run":"%b"}' % run.encode())


def fold(metrics, filters=None, keeps_sketches=False):
    interval = Interval(0, keeps_sketches)
    project = compile_projection(filters or Filters())
    for sequence, one in enumerate(metrics):
        interval.add(sequence, one, project(DecodedMetric(one)))
    return interval


def aggregated(metrics, **kwargs):
    return [json.loads(one.body) for _, one in fold(metrics, **kwargs).since(0)]


def one_of(*rows, **kwargs):
    (document,) = aggregated([metric(row) for row in rows], **kwargs)
    return document


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch.encode()


def shares_of(values, name="response_time_ms"):
    ordered = sorted(values)
    found = {f"p{digits}_{name}": ordered[rank_of(share_of(digits), len(ordered))] for digits in ("50", "99")}
    return {**found, "sketches": {name: sketch_of(values)}}


def lognormal(count, seed):
    source = random.Random(seed)
    return [source.lognormvariate(3, 1) for _ in range(count)]
