"""Reads OpenMetrics from standard input by the Prometheus project's own parser, and prints each exemplar as a line of JSON."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

count = 0
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        count += 1
        if sample.exemplar is not None:
            labels = dict(sample.exemplar.labels)
            print(json.dumps({"name": sample.name, "labels": labels, "value": sample.exemplar.value}))
print(json.dumps({"samples": count}))
