#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {

Board LogBoard() {
  return {
      .uid = "tidegate-log",
      .title = "Tidegate / Log and Kafka",
      .description = "Appends, the cluster, journals, outboxes and how far readers are behind.",
      .variables = {{"service", "Service", "label_values(tidegate_build_info, service)"},
                    {"instance", "Instance",
                     "label_values(tidegate_build_info{service=~\"$service\"}, instance)"}},
      .sections = {
          {.title = "Appends",
           .panels =
               {{.title = "Appends by topic",
                 .description = "Appends that ended; one append may hold many records.",
                 .unit = "cps",
                 .queries = {{"sum by (topic) (rate(tidegate_log_append_seconds_count{"
                              "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval]))",
                              "{{topic}}"}}},
                {.title = "Append time, 99 %",
                 .description = "Until the append was durable. On the embedded log a sync of the "
                                "disk, on Kafka the acknowledgement of all in-sync replicas.",
                 .unit = "s",
                 .queries = {{"histogram_quantile(0.99, sum by (le, topic) "
                              "(rate(tidegate_log_append_seconds_bucket{service=~\"$service\","
                              "instance=~\"$instance\"}[$__rate_interval])))",
                              "{{topic}}"}}},
                {.title = "Append time, mean",
                 .description = "Mean time of an append by topic.",
                 .unit = "s",
                 .queries = {{"sum by (topic) (rate(tidegate_log_append_seconds_sum{"
                              "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval])) "
                              "/ sum by (topic) (rate(tidegate_log_append_seconds_count{"
                              "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval]))",
                              "{{topic}}"}}},
                {.title = "Failed appends",
                 .description = "Appends that ended in an error, by topic. The owner of a journal "
                                "then writes a new fence; callbacks are answered 503.",
                 .unit = "cps",
                 .width = 12,
                 .queries = {{"sum by (topic) (rate(tidegate_log_append_failures_total{"
                              "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval])) "
                              "or vector(0)",
                              "{{topic}}"}}},
                {.title = "Silence of Kafka",
                 .description = "Time since the cluster answered last. Empty on the embedded log.",
                 .unit = "s",
                 .width = 12,
                 .queries = {{"max by (service, instance) (tidegate_kafka_answer_age_seconds{"
                              "service=~\"$service\",instance=~\"$instance\"})",
                              "{{service}} {{instance}}"}},
                 .thresholds = {{0, "green"}, {30, "orange"}, {60, "red"}}}}},
          {.title = "Journals",
           .panels = {
               {.title = "Records applied",
                .description = "Counted records by journal. A start replays its journals, which "
                               "shows as a peak.",
                .unit = "cps",
                .queries = {{"sum by (journal) (rate(tidegate_journal_records_total{"
                             "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval]))",
                             "{{journal}}"}}},
               {.title = "Void records and fences",
                .description = "Void = repeats, and records of a former owner. Every start and "
                               "every failed append writes a fence.",
                .unit = "short",
                .queries = {{"sum by (journal) (increase(tidegate_journal_void_records_total{"
                             "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval]))",
                             "{{journal}} void"},
                            {"sum by (journal) (increase(tidegate_journal_fences_total{"
                             "service=~\"$service\",instance=~\"$instance\"}[$__rate_interval]))",
                             "{{journal}} fences"}}},
               {.title = "Live",
                .description = "1 = the process owns the journal and has read all of it. 0 for "
                               "long: it replays, was fenced or failed; /readyz?verbose of the "
                               "admin port tells.",
                .unit = "short",
                .queries = {{"max by (journal) (tidegate_journal_live{service=~\"$service\","
                             "instance=~\"$instance\"})",
                             "{{journal}}"}},
                .thresholds = {{0, "red"}, {1, "green"}}},
               {.title = "Outbox",
                .description = "Decided and not yet acknowledged by its target topic. At 200,000 "
                               "a partition reads no more input.",
                .unit = "short",
                .queries = {{"max by (journal) (tidegate_outbox_records{service=~\"$service\","
                             "instance=~\"$instance\"})",
                             "{{journal}}"}},
                .thresholds = {{0, "green"}, {100000, "orange"}, {200000, "red"}}},
               {.title = "Lag in records",
                .description = "Records of an input not taken yet, summed over partitions.",
                .unit = "short",
                .queries = {{"sum by (stage, input) (tidegate_lag_records{service=~\"$service\","
                             "instance=~\"$instance\"})",
                             "{{stage}} {{input}}"}}},
               {.title = "Lag in seconds",
                .description = "Time since all of an input was taken last, of the partition that "
                               "is furthest behind.",
                .unit = "s",
                .queries = {{"max by (stage, input) (tidegate_lag_seconds{service=~\"$service\","
                             "instance=~\"$instance\"})",
                             "{{stage}} {{input}}"}},
                .thresholds = {{0, "green"}, {60, "orange"}, {300, "red"}}}}}}};
}

}  // namespace tidegate::generate
