#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {
namespace {

std::string ForStage(const char* text, const std::string& stage) {
  return absl::StrReplaceAll(text, {{"STAGE", stage}});
}

Panel Flow(const std::string& stage, const std::string& description) {
  return {
      .title = absl::StrCat("In, out, dropped: ", stage),
      .description = description,
      .unit = "cps",
      .queries = {
          {ForStage("sum(rate(tidegate_stage_in_total{stage=\"STAGE\"}[$__rate_interval]))", stage),
           "in"},
          {ForStage("sum(rate(tidegate_stage_out_total{stage=\"STAGE\"}[$__rate_interval]))",
                    stage),
           "out"},
          {ForStage("sum(rate(tidegate_stage_dropped_total{stage=\"STAGE\"}[$__rate_interval]))",
                    stage),
           "dropped"}}};
}

Panel AgeAndLag(const std::string& stage, const std::string& age, const std::string& description) {
  return {.title = absl::StrCat("Time: ", stage),
          .description = description,
          .unit = "s",
          .queries = {{ForStage("max(tidegate_stage_age_seconds{stage=\"STAGE\"})", stage), age},
                      {ForStage("max by (input) (tidegate_lag_seconds{stage=\"STAGE\"})", stage),
                       "lag of {{input}}"}}};
}

// `journal` is the topic of the stage's journals, `target` what its outbox goes to.
Panel Waiting(const std::string& stage, const std::string& journal, const std::string& target) {
  return {
      .title = absl::StrCat("Waiting: ", stage),
      .description = absl::StrCat(
          "Records of each input that the stage has not taken, and what it decided for ", target,
          " and is not acknowledged there. A line that only rises is a stage that is stopped "
          "or too slow."),
      .unit = "short",
      .queries = {
          {ForStage("sum by (input) (tidegate_lag_records{stage=\"STAGE\"})", stage), "{{input}}"},
          {absl::StrCat("sum(tidegate_outbox_records{journal=~\"", journal, "/.*\"})"),
           absl::StrCat("outbox to ", target)}}};
}

Section Now() {
  return {
      .title = "Now",
      .panels = {
          {.title = "Processes up",
           .description = "Processes that answer the last scrape.",
           .unit = "short",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"sum(up{job=\"tidegate\"})", "up"}},
           .thresholds = {{0, "red"}, {1, "green"}}},
          {.title = "Journals live",
           .description = "Share of the journals that some process owns and has read to the end. "
                          "Less than all: work of those partitions waits.",
           .unit = "percentunit",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"avg(max by (journal) (tidegate_journal_live))", "live"}},
           .thresholds = {{0, "red"}, {1, "green"}}},
          {.title = "Longest lag",
           .description = "The longest time since any input was taken in full.",
           .unit = "s",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"max(tidegate_lag_seconds)", "lag"}},
           .thresholds = {{0, "green"}, {60, "orange"}, {300, "red"}}},
          {.title = "Campaigns running",
           .description = "Campaigns with calls that are not sent yet.",
           .unit = "short",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"sum(tidegate_campaigns{state=\"running\"})", "running"}},
           .thresholds = {{0, "blue"}}},
          {.title = "Calls in doubt",
           .description = "Calls without an answer that are being settled, or left to an operator.",
           .unit = "short",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"sum(tidegate_doubt_open) + sum(tidegate_doubt_parked)", "doubt"}},
           .thresholds = {{0, "green"}, {1, "orange"}}},
          {.title = "Alerts firing",
           .description = "Alerts of Tidegate that fire now.",
           .unit = "short",
           .kind = PanelKind::kStat,
           .width = 4,
           .height = 4,
           .queries = {{"count(ALERTS{alertname=~\"Tidegate.*\",alertstate=\"firing\"}) or "
                        "vector(0)",
                        "firing"}},
           .thresholds = {{0, "green"}, {1, "red"}}},
      }};
}

Section Ingestion() {
  return {.title = "1. Callbacks and ingestion",
          .panels = {
              {.title = "Callbacks",
               .description = "Callbacks of WeCom by result. taken = on the log and answered 200; "
                              "log_failed = WeCom was told to deliver again; the rest was refused.",
               .unit = "reqps",
               .queries = {{"sum by (result) (rate(tidegate_callbacks_total[$__rate_interval]))",
                            "{{result}}"}}},
              Flow("ingestion",
                   "Events of internal services: taken, stored, and refused as not valid."),
              {.title = "Append to tidegate.events",
               .description = "Time until an event is durable. WeCom waits 5 s for the answer to a "
                              "callback, so 4 s is the end of our patience.",
               .unit = "s",
               .queries = {{"histogram_quantile(0.5, sum by (le) "
                            "(rate(tidegate_log_append_seconds_bucket{topic=\"tidegate.events\"}"
                            "[$__rate_interval])))",
                            "half"},
                           {"histogram_quantile(0.99, sum by (le) "
                            "(rate(tidegate_log_append_seconds_bucket{topic=\"tidegate.events\"}"
                            "[$__rate_interval])))",
                            "99 %"}}},
          }};
}

Section Wecom() {
  return {.title = "5. WeCom",
          .panels = {
              {.title = "Calls by API",
               .description = "Calls that ended, by endpoint.",
               .unit = "reqps",
               .queries = {{"sum by (api) (rate(tidegate_wecom_calls_total[$__rate_interval]))",
                            "{{api}}"}},
               .stacked = true},
              {.title = "Answers other than 0",
               .description = "By errcode. 45009 and 45033 should never be seen: our buckets stay "
                              "below the limits unless other software uses the same corp or "
                              "address.",
               .unit = "reqps",
               .queries = {{"sum by (errcode) "
                            "(rate(tidegate_wecom_calls_total{errcode!=\"0\"}[$__rate_interval])) "
                            "or vector(0)",
                            "{{errcode}}"}}},
              {.title = "Fewest tokens left",
               .description = "The emptiest window of each API, as a share of its capacity. Zero "
                              "is normal while a campaign sends as fast as the limits allow.",
               .unit = "percentunit",
               .queries = {{"min by (api) (tidegate_token_bucket_tokens{scope!=\"in_flight\"} / "
                            "tidegate_token_bucket_capacity{scope!=\"in_flight\"})",
                            "{{api}}"}}},
          }};
}

}  // namespace

Board OverviewBoard() {
  return {
      .uid = "tidegate-overview",
      .title = "Tidegate / Overview",
      .description =
          "The way of a message from callback to WeCom. Read it from top to bottom: the "
          "first stage whose lag rises is where messages wait.",
      .variables = {},
      .sections = {
          Now(),
          Ingestion(),
          {.title = "2. Tagging",
           .panels = {Flow("tagging",
                           "Events taken once, those that changed something, and dead letters."),
                      AgeAndLag("tagging", "age of the last event",
                                "Age = from receipt until tagging took the event. A welcome code "
                                "works for 20 s, so more than that means customers without one."),
                      Waiting("tagging", "tidegate.profiles", "tidegate.commands")}},
          {.title = "3. Segmentation",
           .panels = {Flow("segmentation", "Profiles folded into the index."),
                      AgeAndLag("segmentation", "age of the last profile",
                                "How far the index is behind the profiles: counts and audiences "
                                "are as old as this."),
                      Waiting("segmentation", "tidegate.memberships", "tidegate.audiences")}},
          {.title = "4. Dispatch",
           .panels = {Flow("dispatch",
                           "Attempts written to the ledger, their outcomes, and records skipped "
                           "because nobody should have written them."),
                      AgeAndLag("dispatch", "last call",
                                "How long the last call took from attempt to outcome, and how long "
                                "commands and audiences wait to be read."),
                      Waiting("dispatch", "tidegate.ledger", "tidegate.events")}},
          Wecom(),
      }};
}

}  // namespace tidegate::generate
