#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {

Board WecomBoard() {
  return {
      .uid = "tidegate-wecom",
      .title = "Tidegate / Token buckets and WeCom",
      .description = "What may be sent now, what waits and why, and what WeCom answers.",
      .variables = {{"api", "API", "label_values(tidegate_token_bucket_capacity, api)"}},
      .sections = {
          {.title = "Token buckets",
           .panels =
               {{.title = "Tokens left in windows",
                 .description = "Share of each window's tokens; of several corps the one with the "
                                "fewest. Zero is normal while a campaign runs: a token returns "
                                "one window after its call ended.",
                 .unit = "percentunit",
                 .width = 12,
                 .queries = {{"min by (api, scope, window) "
                              "(tidegate_token_bucket_tokens{api=~\"$api\",scope!=\"in_flight\"} "
                              "/ tidegate_token_bucket_capacity{api=~\"$api\","
                              "scope!=\"in_flight\"})",
                              "{{api}} {{scope}} {{window}} s"}}},
                {.title = "Calls in flight",
                 .description = "Calls under way, against the number allowed at once. A line that "
                                "stays at its limit: latency, not the rate, binds.",
                 .unit = "short",
                 .width = 12,
                 .queries = {{"max by (api) "
                              "(tidegate_token_bucket_capacity{api=~\"$api\","
                              "scope=\"in_flight\"} - tidegate_token_bucket_tokens{api=~\"$api\","
                              "scope=\"in_flight\"})",
                              "{{api}}"},
                             {"min by (api) (tidegate_token_bucket_capacity{api=~\"$api\","
                              "scope=\"in_flight\"})",
                              "{{api}} allowed"}}},
                {.title = "Lockout",
                 .description = "Time until WeCom lets an API go on after 45009. Nothing of that "
                                "API leaves meanwhile; then one call tries first.",
                 .unit = "s",
                 .queries = {{"max by (api) "
                              "(tidegate_token_bucket_lockout_seconds{api=~\"$api\"})",
                              "{{api}}"}},
                 .thresholds = {{0, "green"}, {1, "orange"}, {300, "red"}}},
                {.title = "Near and over the limit",
                 .description = "near = let go with less than a fifth of a bucket left; over = "
                                "had to wait for tokens. Over without near points to calls in "
                                "flight or a lockout.",
                 .unit = "reqps",
                 .queries = {{"sum by (api) "
                              "(rate(tidegate_token_bucket_near_limit_total{api=~\"$api\"}"
                              "[$__rate_interval]))",
                              "{{api}} near"},
                             {"sum by (api) "
                              "(rate(tidegate_token_bucket_over_limit_total{api=~\"$api\"}"
                              "[$__rate_interval]))",
                              "{{api}} over"}}},
                {.title = "Delayed, by cause",
                 .description = "Calls that WeCom or our own rules made wait.",
                 .unit = "reqps",
                 .queries = {{"sum by (cause) (rate(tidegate_dispatch_delayed_total"
                              "[$__rate_interval])) or vector(0)",
                              "{{cause}}"}}}}},
          {.title = "Answers",
           .panels = {
               {.title = "Calls by API",
                .description = "Calls that ended, with any answer or none.",
                .unit = "reqps",
                .queries = {{"sum by (api) (rate(tidegate_wecom_calls_total{api=~\"$api\"}"
                             "[$__rate_interval]))",
                             "{{api}}"}},
                .stacked = true},
               {.title = "Answers other than 0",
                .description = "By API and errcode. not_written = no byte left (no token, DNS, "
                               "TLS, refused connection); no_answer = a byte left and nothing "
                               "came back.",
                .unit = "reqps",
                .queries = {{"sum by (api, errcode) "
                             "(rate(tidegate_wecom_calls_total{api=~\"$api\",errcode!=\"0\"}"
                             "[$__rate_interval])) or vector(0)",
                             "{{api}} {{errcode}}"}}},
               {.title = "Share that went well",
                .description = "Answers with errcode 0 of all calls that ended.",
                .unit = "percentunit",
                .queries = {{"sum by (api) (rate(tidegate_wecom_calls_total{api=~\"$api\","
                             "errcode=\"0\"}[$__rate_interval])) / sum by (api) "
                             "(rate(tidegate_wecom_calls_total{api=~\"$api\"}"
                             "[$__rate_interval]))",
                             "{{api}}"}}},
               {.title = "Limits hit in 24 hours",
                .description = "Answers 45009 (too many) and 45033 (too many at once). Should "
                               "be 0.",
                .unit = "short",
                .kind = PanelKind::kStat,
                .width = 6,
                .height = 6,
                .queries = {{"sum(increase(tidegate_wecom_calls_total{errcode=~\"45009|45033\"}"
                             "[24h])) or vector(0)",
                             "45009 and 45033"}},
                .thresholds = {{0, "green"}, {1, "red"}}},
               {.title = "Token errors in 24 hours",
                .description = "Answers 40001, 40014 and 42001. A few are normal, when a token "
                               "is replaced.",
                .unit = "short",
                .kind = PanelKind::kStat,
                .width = 6,
                .height = 6,
                .queries = {{"sum(increase(tidegate_wecom_calls_total{"
                             "errcode=~\"40001|40014|42001\"}[24h])) or vector(0)",
                             "token errors"}},
                .thresholds = {{0, "green"}, {100, "orange"}}},
               {.title = "Calls in doubt",
                .description = "open = being settled by listing WeCom's tasks; parked = left to "
                               "an operator.",
                .unit = "short",
                .width = 6,
                .height = 6,
                .queries = {{"sum(tidegate_doubt_open)", "open"},
                            {"sum(tidegate_doubt_parked)", "parked"}}},
               {.title = "Oldest doubt",
                .description = "Settling takes about two minutes. After 30 minutes a doubt is "
                               "parked.",
                .unit = "s",
                .width = 6,
                .height = 6,
                .queries = {{"max by (lane) (tidegate_doubt_oldest_seconds)", "lane {{lane}}"}},
                .thresholds = {{0, "green"}, {600, "orange"}, {1800, "red"}}},
               {.title = "Corps that do not trust the address",
                .description = "Errcode 60020: the lane's address is not among the trusted "
                               "addresses of the app. Nothing is sent for the corp until it is.",
                .unit = "short",
                .width = 12,
                .height = 6,
                .queries = {{"sum by (lane) (tidegate_lane_untrusted_corps)", "lane {{lane}}"}},
                .thresholds = {{0, "green"}, {1, "red"}}},
               {.title = "Mass sends that were one too many",
                .description = "Found by the listings that settle doubt or by the daily audit, "
                               "and taken back.",
                .unit = "short",
                .width = 12,
                .height = 6,
                .queries = {{"sum(increase(tidegate_duplicates_detected_total[24h])) or vector(0)",
                             "in 24 h"}},
                .thresholds = {{0, "green"}, {1, "red"}}}}}}};
}

}  // namespace tidegate::generate
