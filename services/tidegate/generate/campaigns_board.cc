#include "services/tidegate/generate/boards.h"

namespace tidegate::generate {

Board CampaignsBoard() {
  return {
      .uid = "tidegate-campaigns",
      .title = "Tidegate / Campaigns",
      .description =
          "How far campaigns are, by egress lane. Single campaigns are not metrics: see "
          "tidegate campaign report.",
      .variables = {{"lane", "Lane", "label_values(tidegate_campaigns, lane)"}},
      .sections = {
          {.title = "Now",
           .panels =
               {{.title = "Running",
                 .description = "Campaigns with calls that are not sent yet.",
                 .unit = "short",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"sum(tidegate_campaigns{lane=~\"$lane\",state=\"running\"})",
                              "running"}},
                 .thresholds = {{0, "blue"}}},
                {.title = "Paused",
                 .description = "Campaigns that an operator paused.",
                 .unit = "short",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"sum(tidegate_campaigns{lane=~\"$lane\",state=\"paused\"})",
                              "paused"}},
                 .thresholds = {{0, "green"}, {1, "orange"}}},
                {.title = "Open touches",
                 .description = "Customers of campaigns under way whose end is not known yet.",
                 .unit = "short",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"sum(tidegate_campaign_touches{lane=~\"$lane\",status=\"open\"})",
                              "open"}},
                 .thresholds = {{0, "blue"}}},
                {.title = "Touches with an end",
                 .description = "Share of the touches of campaigns under way that have an end: "
                                "sent, failed, unconfirmed or skipped. 100 % if there are none.",
                 .unit = "percentunit",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"(sum(tidegate_campaign_touches{lane=~\"$lane\","
                              "status!~\"open|parked\"}) / "
                              "(sum(tidegate_campaign_touches{lane=~\"$lane\"}) > 0)) or vector(1)",
                              "ended"}},
                 .thresholds = {{0, "blue"}}},
                {.title = "Last call leaves in",
                 .description = "Forecast by the limits alone, until the last call of the running "
                                "campaigns is sent. Results come later.",
                 .unit = "s",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"max(tidegate_campaign_forecast_seconds{lane=~\"$lane\"})",
                              "forecast"}},
                 .thresholds = {{0, "blue"}}},
                {.title = "Parked touches",
                 .description = "Customers of parked calls: an operator has to look.",
                 .unit = "short",
                 .kind = PanelKind::kStat,
                 .width = 4,
                 .height = 4,
                 .queries = {{"sum(tidegate_campaign_touches{lane=~\"$lane\",status=\"parked\"})",
                              "parked"}},
                 .thresholds = {{0, "green"}, {1, "red"}}}}},
          {.title = "Progress",
           .panels = {
               {.title = "Campaigns by state",
                .description = "freezing = the audience is being written; collecting = all is "
                               "sent, results are polled.",
                .unit = "short",
                .width = 12,
                .queries = {{"sum by (state) (tidegate_campaigns{lane=~\"$lane\","
                             "state!=\"completed\"})",
                             "{{state}}"}},
                .stacked = true},
               {.title = "Touches by status",
                .description = "Of campaigns that are not completed. The sum falls when a "
                               "campaign is completed and leaves the picture.",
                .unit = "short",
                .width = 12,
                .queries = {{"sum by (status) (tidegate_campaign_touches{lane=~\"$lane\"})",
                             "{{status}}"}},
                .stacked = true},
               {.title = "Mass sends",
                .description = "Calls of add_msg_template by errcode. While campaigns run this "
                               "follows the token buckets.",
                .unit = "reqps",
                .queries = {{"sum by (errcode) (rate(tidegate_wecom_calls_total{"
                             "api=\"add_msg_template\"}[$__rate_interval]))",
                             "{{errcode}}"}}},
               {.title = "Forecast by lane",
                .description = "A forecast that does not fall while the campaign runs is a "
                               "campaign that stands still.",
                .unit = "s",
                .queries = {{"max by (lane) (tidegate_campaign_forecast_seconds{lane=~\"$lane\"})",
                             "lane {{lane}}"}}},
               {.title = "Doubts by lane",
                .description = "Calls in doubt, and those left to an operator. A campaign is not "
                               "over while a doubt is being settled.",
                .unit = "short",
                .queries = {
                    {"sum by (lane) (tidegate_doubt_open{lane=~\"$lane\"})", "lane {{lane}} open"},
                    {"sum by (lane) (tidegate_doubt_parked{lane=~\"$lane\"})",
                     "lane {{lane}} parked"}}}}}}};
}

}  // namespace tidegate::generate
