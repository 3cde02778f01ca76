#include "services/tidegate/generate/alerts.h"

#include "absl/strings/ascii.h"

namespace tidegate::generate {

std::vector<Alert> AllAlerts() {
  return {
      // ---- Processes ----
      {.name = "TidegateProcessDown",
       .severity = Severity::kPage,
       .expression = R"(up{job="tidegate"} == 0)",
       .hold_for = "2m",
       .summary = "{{ $labels.service }} at {{ $labels.instance }} does not answer",
       .description =
           "The admin port has not answered for 2 minutes. The partitions of this replica stand "
           "still: nobody else takes them over."},
      {.name = "TidegateProcessRestarting",
       .severity = Severity::kTicket,
       .expression = R"(changes(process_start_time_seconds{job="tidegate"}[15m]) > 2)",
       .summary = "{{ $labels.service }} at {{ $labels.instance }} restarts again and again",
       .description =
           "{{ $value }} starts in 15 minutes. Each one replays the journals, and the calls that "
           "were under way become doubts."},
      {.name = "TidegateJournalNotLive",
       .severity = Severity::kPage,
       .expression = R"(max by (journal) (tidegate_journal_live) == 0)",
       .hold_for = "5m",
       .summary = "No process is live on {{ $labels.journal }}",
       .description =
           "For 5 minutes every owner of this journal has been replaying, fenced or failed. The "
           "work of its partition waits."},
      // ---- The pipeline ----
      {.name = "TidegateStageStalled",
       .severity = Severity::kPage,
       .expression = R"(sum by (stage, partition) (tidegate_lag_records) > 0
unless on (stage, partition)
  sum by (stage, partition) (increase(tidegate_stage_in_total[5m])) > 0)",
       .hold_for = "5m",
       .summary = "{{ $labels.stage }} takes nothing in on partition {{ $labels.partition }}",
       .description =
           "{{ $value }} records wait, and none was taken for 5 minutes and more. Customers of "
           "this partition get no tags and no welcomes."},
      {.name = "TidegateLagSecondsHigh",
       .severity = Severity::kTicket,
       .expression = R"(max by (stage, input) (tidegate_lag_seconds) > 300)",
       .hold_for = "5m",
       .summary = "{{ $labels.stage }} is behind on {{ $labels.input }}",
       .description =
           "It has not caught up for {{ $value | humanizeDuration }}. Welcomes that wait longer "
           "than 20 s are dropped, since WeCom refuses them."},
      {.name = "TidegateDeadLettersGrowing",
       .severity = Severity::kTicket,
       .expression = R"(sum by (stage, instance) (
  increase(tidegate_stage_dropped_total{stage=~"tagging|segmentation|dispatch"}[15m])
) > 0
and on (instance) time() - process_start_time_seconds{job="tidegate"} > 1200)",
       .summary = "{{ $labels.stage }} at {{ $labels.instance }} sets records aside",
       .description =
           "{{ $value | humanize }} records in 15 minutes could not be used. They are not lost, "
           "but nothing follows from them."},
      {.name = "TidegateCallbacksNotStored",
       .severity = Severity::kPage,
       .expression = R"(sum by (service, instance) (
  increase(tidegate_callbacks_total{result="log_failed"}[5m])
) > 0)",
       .hold_for = "1m",
       .summary = "Callbacks cannot be stored by {{ $labels.instance }}",
       .description =
           "{{ $value | humanize }} callbacks in 5 minutes were answered 503. WeCom delivers each "
           "three times in all; then the event is lost to us."},
      {.name = "TidegateCallbackSignatureFailures",
       .severity = Severity::kTicket,
       .expression = R"(sum by (service, instance) (
  increase(tidegate_callbacks_total{result=~"refused|bad_signature|stale|malformed"}[15m])
) > 10
and
  sum by (service, instance) (
    increase(tidegate_callbacks_total{result=~"refused|bad_signature|stale|malformed"}[15m])
  )
  / sum by (service, instance) (increase(tidegate_callbacks_total[15m])) > 0.05)",
       .hold_for = "5m",
       .summary = "{{ $labels.instance }} refuses callbacks",
       .description =
           "{{ $value | humanize }} callbacks in 15 minutes had a wrong signature, an old time or "
           "no readable body: more than 5 % of all. If they are WeCom's, a corp's events are being "
           "lost."},
      {.name = "TidegateKafkaSilent",
       .severity = Severity::kPage,
       .expression = R"(tidegate_kafka_answer_age_seconds > 60)",
       .hold_for = "1m",
       .summary = "{{ $labels.service }} at {{ $labels.instance }} hears nothing from Kafka",
       .description = "The cluster answered last {{ $value | humanizeDuration }} ago. Nothing can "
                      "be appended, "
                      "so callbacks are refused and no call leaves."},
      // ---- WeCom ----
      {.name = "TidegateRateLimitedByWecom",
       .severity = Severity::kTicket,
       .expression = R"(sum by (api, errcode, instance) (
  increase(tidegate_wecom_calls_total{errcode=~"45009|45033"}[10m])
) > 0
and on (instance) time() - process_start_time_seconds{job="tidegate"} > 900)",
       .summary = "WeCom answered {{ $labels.errcode }} to {{ $labels.api }}",
       .description =
           "{{ $value | humanize }} times in 10 minutes. The token buckets stay below the limits, "
           "so something else uses the same corp or address, or a limit is set too high."},
      {.name = "TidegateTokenRefreshFailing",
       .severity = Severity::kPage,
       .expression = R"(sum by (api, instance) (
  increase(tidegate_wecom_calls_total{errcode=~"40001|40014|42001|not_written"}[10m])
)
/ sum by (api, instance) (increase(tidegate_wecom_calls_total[10m])) > 0.5
and
  sum by (api, instance) (
    increase(tidegate_wecom_calls_total{errcode=~"40001|40014|42001|not_written"}[10m])
  ) > 5
and on (instance) time() - process_start_time_seconds{job="tidegate"} > 900)",
       .hold_for = "2m",
       .summary = "Calls of {{ $labels.api }} get no valid token",
       .description =
           "{{ $value | humanizePercentage }} of the calls in 10 minutes were refused for their "
           "access token (40001, 40014, 42001) or did not leave (not_written: no token could be "
           "fetched, or no connection)."},
      {.name = "TidegateCampaignStalled",
       .severity = Severity::kPage,
       .expression = R"(sum by (instance) (tidegate_campaigns{state="running"}) > 0
and on (instance)
  max by (instance) (tidegate_campaign_forecast_seconds) > 0
unless on (instance)
  sum by (instance) (
    increase(tidegate_wecom_calls_total{api="add_msg_template",errcode="0"}[15m])
  ) > 0
unless on (instance)
  min by (instance) (
    tidegate_token_bucket_tokens{api="add_msg_template",scope!="in_flight"}
  ) < 1)",
       .hold_for = "5m",
       .summary = "Campaigns run at {{ $labels.instance }} and nothing is sent",
       .description = "{{ $value }} campaigns are running, calls and tokens are left, and WeCom "
                      "has accepted no "
                      "mass send for 15 minutes and more."},
      {.name = "TidegateDoubtOld",
       .severity = Severity::kTicket,
       .expression = R"(max by (lane) (tidegate_doubt_oldest_seconds) > 600)",
       .hold_for = "1m",
       .summary = "A doubt of lane {{ $labels.lane }} is not being settled",
       .description = "A call has been in doubt for {{ $value | humanizeDuration }}; two minutes "
                      "are usual, seven behind a proxy. "
                      "After 30 minutes it is parked."},
      {.name = "TidegateDoubtParked",
       .severity = Severity::kTicket,
       .expression = R"(max by (lane) (tidegate_doubt_parked) > 0)",
       .hold_for = "1m",
       .summary = "Lane {{ $labels.lane }} has calls that an operator must look at",
       .description =
           "{{ $value }} calls are parked: whether WeCom executed them could not be found out. "
           "They are not repeated."},
      {.name = "TidegateDuplicateDetected",
       .severity = Severity::kTicket,
       .expression = R"(sum by (lane, instance) (
  increase(tidegate_duplicates_detected_total[15m])
) > 0
and on (instance) time() - process_start_time_seconds{job="tidegate"} > 1200)",
       .summary = "Lane {{ $labels.lane }} has found mass sends that are one too many",
       .description =
           "Settling a doubt was wrong. They are taken back where members have not sent them yet."},
      // ---- gRPC ----
      {.name = "TidegateGrpcErrorsHigh",
       .severity = Severity::kPage,
       .expression = R"((
  sum by (service) (
    rate(grpc_server_handled_total{job="tidegate",grpc_code=~"Unknown|DeadlineExceeded|Internal|Unavailable|DataLoss"}[1h])
  )
  / sum by (service) (rate(grpc_server_handled_total{job="tidegate"}[1h])) > 14.4 * 0.001
)
and
  sum by (service) (
    rate(grpc_server_handled_total{job="tidegate",grpc_code=~"Unknown|DeadlineExceeded|Internal|Unavailable|DataLoss"}[5m])
  )
  / sum by (service) (rate(grpc_server_handled_total{job="tidegate"}[5m])) > 14.4 * 0.001
and
  sum by (service) (increase(grpc_server_handled_total{job="tidegate"}[1h])) > 100)",
       .summary = "{{ $labels.service }} fails RPCs",
       .description =
           "{{ $value | humanizePercentage }} of the RPCs of the last hour failed, and it goes on. "
           "At this pace the error budget of 30 days (99.9 %) is gone in two days."},
  };
}

std::string SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kPage:
      return "page";
    case Severity::kTicket:
      return "ticket";
  }
  return "";
}

std::string RunbookAnchor(const Alert& alert) { return absl::AsciiStrToLower(alert.name); }

}  // namespace tidegate::generate
