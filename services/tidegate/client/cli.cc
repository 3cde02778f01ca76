#include "services/tidegate/client/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

#include "services/tidegate/client/client.h"
#include "services/tidegate/client/connection.h"
#include "services/tidegate/client/error_report.h"
#include "services/tidegate/client/import_customers.h"
#include "services/tidegate/client/import_purchases.h"
#include "services/tidegate/client/journal_export.h"
#include "services/tidegate/client/quota_verbs.h"
#include "services/tidegate/client/verbs.h"
#include "services/tidegate/generate/prometheus_yaml.h"

namespace tidegate::client {
namespace {

constexpr int kUsageExitCode = 2;
constexpr double kSecondsMax = 86'400;
constexpr int64_t kShiftDaysMax = 100'000;

struct GlobalOptions {
  std::string servers = "127.0.0.1:7600";
  rpc::TlsFiles tls;
  std::string output = "table";
  double timeout_s = 30;
  double wait_s = 0;
  std::string client_log;
  bool quiet = false;
};

using Verb = std::function<absl::Status(const Client&)>;

// Owns what the flags of every verb are parsed into, and remembers the verb that was named.
class CommandTree {
 public:
  explicit CommandTree(std::function<absl::Status(const ServeOptions&)> serve)
      : serve_(std::move(serve)) {
    app_.description("Tidegate: from a customer's first callback to the last confirmed message.");
    app_.name("tidegate");
    // Global flags are also taken after the verb.
    app_.fallthrough();
    app_.require_subcommand(1);
    AddGlobalFlags();
    AddServe();
    AddImport();
    AddChannel();
    AddRule();
    AddSegment();
    AddCampaign();
    AddMessage();
    AddQuota();
    AddReadings();
    AddBlock();
    AddDoubt();
    AddJournal();
    AddGenerate();
    AddVersion();
    app_.footer(
        "Exit codes: 0 ok, 1 failure, 2 usage or invalid argument, 3 not found, 4 conflict,\n"
        "5 denied, 6 quota, 7 unavailable, 8 deadline. Results go to standard output, all else to\n"
        "standard error.\n\n"
        "Examples:\n"
        "  tidegate serve --data-dir data --corps-file corps.json\n"
        "  tidegate import purchases CDNOW_master.txt --corp ww1 --format cdnow --shift-to-today\n"
        "  tidegate segment count 'orders.count >= 3' --corp ww1 --output json\n"
        "  tidegate VERB --help");
  }

  // Throws CLI::ParseError.
  void Parse(std::vector<std::string> arguments) {
    std::reverse(arguments.begin(), arguments.end());
    app_.parse(std::move(arguments));
  }

  int Exit(const CLI::ParseError& error, std::ostream& out, std::ostream& err) const {
    return app_.exit(error, out, err) == 0 ? 0 : kUsageExitCode;
  }

  const GlobalOptions& global() const { return global_; }
  const Verb& verb() const { return verb_; }

 private:
  void AddGlobalFlags() {
    app_.add_option("--grpc", global_.servers,
                    "Server, HOST:PORT, or SERVICE=HOST:PORT,... where services are apart")
        ->envname("TIDEGATE_GRPC")
        ->capture_default_str();
    app_.add_option("--tls-ca", global_.tls.ca_file, "TLS: authorities of the servers, PEM")
        ->envname("TIDEGATE_TLS_CA");
    app_.add_option("--tls-cert", global_.tls.cert_file, "TLS: own certificate, PEM")
        ->envname("TIDEGATE_TLS_CERT");
    app_.add_option("--tls-key", global_.tls.key_file, "TLS: its key, PEM")
        ->envname("TIDEGATE_TLS_KEY");
    app_.add_option("--output", global_.output, "table for people, json for machines")
        ->check(CLI::IsMember({"table", "json"}))
        ->capture_default_str();
    app_.add_option("--timeout", global_.timeout_s, "Deadline of each call, seconds")
        ->check(CLI::Range(0.001, kSecondsMax))
        ->capture_default_str();
    app_.add_option("--wait", global_.wait_s,
                    "How long an unavailable server is tried again, seconds")
        ->check(CLI::Range(0.0, kSecondsMax))
        ->capture_default_str();
    app_.add_option("--client-log", global_.client_log,
                    "Append a JSON line per call that changes something");
    app_.add_flag("--quiet", global_.quiet, "No progress");
  }

  CLI::App* AddNoun(const std::string& name, const std::string& description) {
    CLI::App* const noun = app_.add_subcommand(name, description);
    noun->require_subcommand(1);
    return noun;
  }

  CLI::App* AddVerb(CLI::App* noun, const std::string& name, const std::string& description,
                    const std::string& examples, Verb verb) {
    CLI::App* const command = noun->add_subcommand(name, description);
    command->footer("Examples:\n" + examples);
    command->callback([this, verb = std::move(verb)] { verb_ = verb; });
    return command;
  }

  static void AddCorp(CLI::App* command, std::string* corp) {
    command->add_option("--corp", *corp, "Corp id")->required();
  }

  static void AddRequestId(CLI::App* command, std::string* request_id) {
    command->add_option(
        "--request-id", *request_id,
        "UUID; a repeat with the same one returns the first result (made if absent)");
  }

  void AddServe() {
    CLI::App* const command =
        AddVerb(&app_, "serve", "Run all services in this process",
                "  tidegate serve --data-dir data --corps-file corps.json\n"
                "  tidegate serve --config tidegate.yaml --check-config\n"
                "  tidegate serve --data-dir data --corps-file corps.json \\\n"
                "    --wecom-url http://127.0.0.1:7700 --grpc 127.0.0.1:0 --ports-file ports.json",
                [this](const Client&) { return serve_(serve_options_); });
    command->add_option("--config", serve_options_.config_file,
                        "Settings, YAML; see docs/configuration.md. Flags are stronger");
    command->add_option("--set", serve_options_.set, "One setting, KEY=VALUE");
    command->add_flag("--check-config", serve_options_.check_config, "Check the settings and end");
    AddSetting(command, "--data-dir", "log.data_dir", "Where everything is kept");
    AddSetting(command, "--corps-file", "corps_file", "Corps and apps, JSON, mode 0600");
    AddSetting(command, "--limits", "limits_file", "Limits and waits, JSON");
    AddSetting(command, "--wecom-url", "wecom.url", "Base URL of WeCom or a stand-in");
    AddSetting(command, "--grpc", "listen.grpc", "gRPC address; port 0 = any free one");
    AddSetting(command, "--callback", "listen.callback", "Address for callbacks");
    AddSetting(command, "--admin", "listen.admin", "Address for health and metrics");
    AddSetting(command, "--ports-file", "listen.ports_file",
               "Written when ready: {grpc, callback, admin, pid}");
    AddSetting(command, "--partitions", "partitions",
               "Customer partitions, fixed when the directory is made");
    AddSetting(command, "--lanes", "lanes", "Egress lanes, fixed when the directory is made");
  }

  // A flag of `serve` that is one of the settings.
  void AddSetting(CLI::App* command, const std::string& flag, const std::string& key,
                  const std::string& description) {
    command->add_option_function<std::string>(
        flag,
        [this, key](const std::string& value) { serve_options_.named.emplace_back(key, value); },
        description);
  }

  void AddImport() {
    CLI::App* const noun = AddNoun("import", "Bring in customers and purchases from files");
    CLI::App* const purchases = AddVerb(
        noun, "purchases",
        "Import purchases. A bad row is told and left out, the good ones stay. Importing a file "
        "again changes nothing.",
        "  tidegate import purchases CDNOW_master.txt --corp ww1 --format cdnow --shift-to-today\n"
        "  tidegate import purchases CDNOW_master.txt --corp ww1 --format cdnow --until "
        "1997-09-30\n"
        "  tidegate import purchases orders.csv --corp ww1 --format csv --source shop\n"
        "\nFormats:\n"
        "  cdnow  blank-separated customer_id date number_of_cds dollar_value with a header line;\n"
        "         order id = number of the data line, customer = wm + id padded to 30 digits\n"
        "  csv    header customer,order_id,paid_time,amount; paid_time is a date or RFC 3339",
        [this](const Client& client) { return ImportPurchases(client, purchases_); });
    purchases->add_option("FILE", purchases_.file, "File to read")->required();
    AddCorp(purchases, &purchases_.corp);
    purchases->add_option("--format", purchases_.format, "cdnow or csv")
        ->required()
        ->check(CLI::IsMember({"cdnow", "csv"}));
    purchases->add_option("--source", purchases_.source,
                          "Name of the reporting system (cdnow for that format, else purchases)");
    purchases->add_option("--until", purchases_.until,
                          "Leave out rows after this day (YYYY-MM-DD, as in the file)");
    CLI::Option* const days =
        purchases->add_option("--shift-days", purchases_.shift_days, "Add days to every date")
            ->check(CLI::Range(-kShiftDaysMax, kShiftDaysMax));
    purchases
        ->add_flag("--shift-to-today", purchases_.shift_to_today,
                   "Shift so that the last imported date is today in Shanghai")
        ->excludes(days);

    CLI::App* const customers = AddVerb(
        noun, "customers",
        "Import customers with their owners. A bad row is told and left out, the good ones stay.",
        "  tidegate import customers customers.csv --corp ww1\n"
        "\nThe file is CSV with the header external_userid,owner and no other column.",
        [this](const Client& client) { return ImportCustomers(client, customers_); });
    customers->add_option("FILE", customers_.file, "File to read")->required();
    AddCorp(customers, &customers_.corp);
    customers->add_option("--source", customers_.source, "Name of the reporting system")
        ->capture_default_str();
  }

  void AddChannel() {
    CLI::App* const noun = AddNoun("channel", "Channel codes: tags and welcome by way of coming");
    CLI::App* const add =
        AddVerb(noun, "add", "Create or replace a channel code",
                "  tidegate channel add --corp ww1 --id spring-fair --state fair26 --tag fair "
                "--welcome 'Hi!'",
                [this](const Client& client) { return ChannelAdd(client, channel_); });
    AddCorp(add, &channel_.corp);
    add->add_option("--id", channel_.id, "Channel id")->required();
    add->add_option("--state", channel_.state, "state of the contact way")->required();
    add->add_option("--tag", channel_.tags, "Corp tag ids to put on");
    add->add_option("--welcome", channel_.welcome, "Welcome text");
    AddRequestId(add, &channel_.request_id);
    AddCorp(AddVerb(noun, "list", "List channel codes", "  tidegate channel list --corp ww1",
                    [this](const Client& client) { return ChannelList(client, corp_); }),
            &corp_);
  }

  void AddRule() {
    CLI::App* const noun = AddNoun("rule", "Rules: event and condition to tags");
    CLI::App* const add = AddVerb(
        noun, "add", "Create or replace a rule",
        "  tidegate rule add --corp ww1 --id vip --when 'orders.sum >= 500.00' --on order_paid \\\n"
        "    --tag vip",
        [this](const Client& client) { return RuleAdd(client, rule_); });
    AddCorp(add, &rule_.corp);
    add->add_option("--id", rule_.id, "Rule id")->required();
    add->add_option("--when", rule_.when, "Condition, an expression")->required();
    add->add_option("--on", rule_.on, "Kind of event, as in order_paid (every kind if absent)");
    add->add_option("--tag", rule_.tags, "Corp tag ids to put on");
    add->add_option("--untag", rule_.untags, "Corp tag ids to take off");
    AddRequestId(add, &rule_.request_id);
    AddCorp(AddVerb(noun, "list", "List rules", "  tidegate rule list --corp ww1",
                    [this](const Client& client) { return RuleList(client, corp_); }),
            &corp_);
  }

  void AddSegment() {
    CLI::App* const noun = AddNoun("segment", "Who is in a segment");
    CLI::App* const count =
        AddVerb(noun, "count", "Count the customers for whom an expression holds",
                "  tidegate segment count 'orders.count >= 3' --corp ww1\n"
                "  tidegate segment count 'not (last_order within 180d)' --corp ww1 \\\n"
                "    --as-of 2026-11-01 --output json",
                [this](const Client& client) { return SegmentCount(client, segment_); });
    CLI::App* const contains =
        AddVerb(noun, "contains", "Tell whether one customer is in it",
                "  tidegate segment contains 'tag(\"vip\")' --corp ww1 --customer wm000001",
                [this](const Client& client) { return SegmentContains(client, segment_); });
    contains->add_option("--customer", segment_.customer, "external_userid")->required();
    for (CLI::App* const command : {count, contains}) {
      command->add_option("EXPR", segment_.expression, "Expression")->required();
      AddCorp(command, &segment_.corp);
      command->add_option("--as-of", segment_.as_of, "At the end of this day, YYYY-MM-DD");
    }
  }

  void AddCampaign() {
    CLI::App* const noun = AddNoun("campaign", "Campaigns: plan, launch, watch, report");
    AddCampaignCreate(noun);
    AddCampaignVerb(noun, "launch", "Freeze the audience, plan and start to send",
                    "  tidegate campaign launch --corp ww1 --id spring", CampaignLaunch);
    CLI::App* const pause = AddCampaignVerb(
        noun, "pause", "Begin no further call",
        "  tidegate campaign pause --corp ww1 --id spring --reason 'wrong link'", CampaignPause);
    CLI::App* const resume =
        AddCampaignVerb(noun, "resume", "Go on where it was paused",
                        "  tidegate campaign resume --corp ww1 --id spring --reason 'link is back'",
                        CampaignResume);
    for (CLI::App* const command : {pause, resume}) {
      command->add_option("--reason", campaign_.reason, "Why, for the audit trail");
    }
    AddCampaignVerb(noun, "report", "Show the state and all counts",
                    "  tidegate campaign report --corp ww1 --id spring --output json",
                    CampaignReport);
    CLI::App* const explain = AddCampaignVerb(
        noun, "explain", "Tell what it does with one customer, and why",
        "  tidegate campaign explain --corp ww1 --id spring --customer wm000001", CampaignExplain);
    explain->add_option("--customer", campaign_.customer, "external_userid")->required();
    AddCampaignVerb(noun, "watch", "Follow it until it is completed, then show the report",
                    "  tidegate campaign watch --corp ww1 --id spring --wait 60", CampaignWatch);
    AddCorp(AddVerb(noun, "list", "List campaigns", "  tidegate campaign list --corp ww1",
                    [this](const Client& client) { return CampaignList(client, corp_); }),
            &corp_);
  }

  void AddCampaignCreate(CLI::App* noun) {
    CLI::App* const create = AddVerb(
        noun, "create", "Create a draft, or only check and plan it",
        "  tidegate campaign create --corp ww1 --id spring --audience 'orders.count >= 3' \\\n"
        "    --variant 'Hello|https://example.com/spring|Spring' --validate-only\n"
        "  tidegate campaign create --corp ww1 -f spring.json\n"
        "\nThe file: {\"campaign_id\": ..., \"audience\": ..., \"variants\": [{\"text\": ...,\n"
        "\"link_url\": ..., \"link_title\": ...}], \"reminders\": 3}; without the last there are "
        "none",
        [this](const Client& client) { return CampaignCreate(client, campaign_create_); });
    AddCampaignSpec(create, CampaignCreate);
    create->add_flag("--validate-only", campaign_create_.validate_only,
                     "Store nothing, show the plan");
    AddRequestId(create, &campaign_create_.request_id);
    CLI::App* const plan = AddVerb(
        noun, "plan", "Show what a launch would do now: who is skipped, calls, limits, time",
        "  tidegate campaign plan --corp ww1 -f spring.json\n"
        "  tidegate campaign plan --corp ww1 --id spring --audience 'orders.count >= 3' \\\n"
        "    --variant 'Hello|https://example.com/spring|Spring' --explain wm000001 --output json",
        [this](const Client& client) { return CampaignPlan(client, campaign_create_); });
    AddCampaignSpec(plan, CampaignPlan);
    plan->add_option("--explain", campaign_create_.explain,
                     "external_userid: what becomes of it; again for more, at most 100")
        ->allow_extra_args(false);
  }

  // The two ways to give a campaign.
  void AddCampaignSpec(CLI::App* command,
                       absl::Status (*run)(const Client&, const CampaignCreateOptions&)) {
    AddCorp(command, &campaign_create_.corp);
    CLI::Option* const file =
        command->add_option("-f,--file", campaign_create_.file, "JSON file with the campaign");
    command->add_option("--id", campaign_create_.id, "Campaign id")->excludes(file);
    command->add_option("--audience", campaign_create_.audience, "Expression")->excludes(file);
    command
        ->add_option("--variant", campaign_create_.variants,
                     "TEXT|LINK_URL|LINK_TITLE; again for more, a stable split chooses")
        ->allow_extra_args(false)
        ->excludes(file);
    command
        ->add_option(
            "--reminders", campaign_create_.reminders,
            "How often members who have not confirmed are reminded, 0 to 3: after 2 h, 6 h "
            "and the next morning")
        ->excludes(file);
    command->callback([this, run, command] {
      const CampaignCreateOptions& given = campaign_create_;
      if (given.file.empty() &&
          (given.id.empty() || given.audience.empty() || given.variants.empty())) {
        throw CLI::ValidationError("campaign " + command->get_name(),
                                   "give --id, --audience and --variant, or -f");
      }
      verb_ = [this, run](const Client& client) { return run(client, campaign_create_); };
    });
  }

  CLI::App* AddCampaignVerb(CLI::App* noun, const std::string& name, const std::string& description,
                            const std::string& examples,
                            absl::Status (*run)(const Client&, const CampaignOptions&)) {
    CLI::App* const command =
        AddVerb(noun, name, description, examples,
                [this, run](const Client& client) { return run(client, campaign_); });
    AddCorp(command, &campaign_.corp);
    command->add_option("--id", campaign_.id, "Campaign id")->required();
    AddRequestId(command, &campaign_.request_id);
    return command;
  }

  void AddQuota() {
    CLI::App* const noun = AddNoun("quota", "Token buckets and limits: what may be sent now");
    AddCorp(AddVerb(noun, "list", "List the buckets with what is left",
                    "  tidegate quota list --corp ww1",
                    [this](const Client& client) { return QuotaList(client, corp_); }),
            &corp_);
    AddCorp(AddVerb(noun, "watch", "List them again at every change until interrupted",
                    "  tidegate quota watch --corp ww1 --output json --wait 60",
                    [this](const Client& client) { return QuotaWatch(client, corp_); }),
            &corp_);
    CLI::App* const acquire = AddVerb(
        noun, "acquire", "Take tokens for calls that another program makes: all of them or none",
        "  tidegate quota acquire --corp ww1 --api add_msg_template --grant crm-17 --calls 4 \\\n"
        "    --actor crm --lease 60\n"
        "\nThe calls must begin before the time that it prints. A repeat with the same grant "
        "gives\n"
        "the same time.",
        [this](const Client& client) { return QuotaAcquire(client, grant_); });
    acquire->add_option("--api", grant_.api, "Endpoint, as in add_msg_template")->required();
    acquire->add_option("--calls", grant_.calls, "How many, 1 to 10000")->required();
    acquire->add_option("--actor", grant_.actor, "Who makes them")->required();
    acquire->add_option("--lease", grant_.lease_s, "How long they may take, 1 to 3600 seconds")
        ->capture_default_str();
    CLI::App* const release =
        AddVerb(noun, "release", "Tell that the calls have ended",
                "  tidegate quota release --corp ww1 --grant crm-17 --used 4",
                [this](const Client& client) { return QuotaRelease(client, grant_); });
    release->add_option("--used", grant_.used, "Calls that were made")->required();
    release->add_flag("--rate-limited", grant_.rate_limited, "One was answered 45009");
    for (CLI::App* const command : {acquire, release}) {
      AddCorp(command, &grant_.corp);
      command->add_option("--grant", grant_.grant, "Name of the grant, unique for 24 h")
          ->required();
    }
    AddLimits(noun);
  }

  void AddLimits(CLI::App* quota) {
    CLI::App* const noun = quota->add_subcommand("limits", "Limits that a corp has of its own");
    noun->require_subcommand(1);
    CLI::App* const set = AddVerb(
        noun, "set", "Set what differs from the deployment's limits, in place of what was set",
        "  tidegate quota limits set --corp ww1 --file limits.json --actor li --reason 'ticket 7'\n"
        "\nThe file; every key is optional, {} = as the deployment's limits say:\n"
        "  {\"windows\": [{\"api\": \"mark_tag\", \"amount\": 5000, \"window_ms\": 60000},\n"
        "               {\"api\": \"mark_tag\", \"amount\": 150000, \"window_ms\": 3600000}],\n"
        "   \"in_flight\": [{\"api\": \"mark_tag\", \"amount\": 5}], \"weight\": 2,\n"
        "   \"receive_quota\": \"RECEIVE_QUOTA_ONE_PER_DAY\",\n"
        "   \"quiet_hours\": {\"from\": \"22:00\", \"to\": \"08:00\"}}",
        [this](const Client& client) { return LimitsSet(client, limits_); });
    AddCorp(set, &limits_.corp);
    set->add_option("-f,--file", limits_.file, "JSON file with the limits")->required();
    set->add_option("--reason", limits_.reason, "Why, for the audit trail")->required();
    set->add_option("--actor", limits_.actor, "Who says so")->required();
    AddCorp(AddVerb(noun, "show", "Show what was set", "  tidegate quota limits show --corp ww1",
                    [this](const Client& client) { return LimitsShow(client, corp_); }),
            &corp_);
  }

  void AddReadings() {
    AddCorp(AddVerb(AddNoun("writeback", "Tags and welcomes on their way to WeCom"), "status",
                    "Show how many are wanted and done", "  tidegate writeback status --corp ww1",
                    [this](const Client& client) { return WritebackStatus(client, corp_); }),
            &corp_);
  }

  void AddMessage() {
    CLI::App* const send = AddVerb(
        AddNoun("message", "Single messages, as internal services send them"), "send",
        "Send one message to some customers of a member, or to members",
        "  tidegate message send --corp ww1 --sender m1 --customer wm1 --customer wm2 \\\n"
        "    --content 'Your order is there|https://example.com/o|Order' --key-prefix order-17\n"
        "  tidegate message send --corp ww1 --member m1 --content 'The stock is low'",
        [this](const Client& client) { return MessageSend(client, message_); });
    AddCorp(send, &message_.corp);
    auto* const sender =
        send->add_option("--sender", message_.sender, "userid of the member who sends");
    auto* const customer =
        send->add_option("--customer", message_.customers, "external_userid; again for more")
            ->allow_extra_args(false)
            ->needs(sender);
    sender->needs(customer);
    send->add_option("--member", message_.members,
                     "userid of a member whom the corp's app writes to, instead of --sender and "
                     "--customer; again for more. Text alone has at most 2,048 bytes, beside a "
                     "link 512")
        ->allow_extra_args(false)
        ->excludes(sender, customer);
    send->add_option("--content", message_.content,
                     "TEXT|LINK_URL|LINK_TITLE; to members also TEXT alone")
        ->required();
    send->add_option("--class", message_.message_class, "urgent, interactive or bulk")
        ->capture_default_str();
    send->add_option("--within", message_.within_s,
                     "No attempt later than so many seconds from now; required of urgent");
    send->add_option("--key-prefix", message_.key_prefix,
                     "Keys are PREFIX:CUSTOMER or PREFIX:MEMBER; a repeat with the same sends "
                     "nothing twice");
    AddTouch();
  }

  void AddTouch() {
    CLI::App* const noun = AddNoun("touch", "What became of single messages");
    for (CLI::App* const command :
         {AddVerb(noun, "get", "Show one", "  tidegate touch get --corp ww1 --key order-17:wm1",
                  [this](const Client& client) { return TouchGet(client, touch_); }),
          AddVerb(noun, "cancel", "End one that was not attempted",
                  "  tidegate touch cancel --corp ww1 --key order-17:wm1",
                  [this](const Client& client) { return TouchCancel(client, touch_); })}) {
      AddCorp(command, &touch_.corp);
      command->add_option("--key", touch_.key, "Key of the message")->required();
    }
    AddCorp(AddVerb(noun, "list", "List all, in the order of acknowledgement",
                    "  tidegate touch list --corp ww1 --output json",
                    [this](const Client& client) { return TouchList(client, corp_); }),
            &corp_);
    CLI::App* const watch =
        AddVerb(noun, "watch", "Tell every change until interrupted",
                "  tidegate touch watch --corp ww1 --prefix order-17: --wait 60",
                [this](const Client& client) { return TouchWatch(client, touch_); });
    AddCorp(watch, &touch_.corp);
    watch->add_option("--prefix", touch_.key_prefix, "Only keys that begin with it");
    watch->add_option("--after", touch_.after, "Number of the last change seen");
  }

  void AddBlock() {
    CLI::App* const noun = AddNoun("block", "The kill switch: what must not leave");
    CLI::App* const set = AddVerb(
        noun, "set", "Begin no further call of a corp, a campaign or everything",
        "  tidegate block set --corp ww1 --campaign spring --reason 'wrong price' --actor li\n"
        "  tidegate block set --corp '*' --reason 'incident 7' --actor li --for 3600",
        [this](const Client& client) { return BlockSet(client, block_); });
    set->add_option("--for", block_.for_s, "Ends by itself after so many seconds");
    CLI::App* const end = AddVerb(
        noun, "end", "Let it leave again",
        "  tidegate block end --corp ww1 --campaign spring --reason 'price is right' --actor li",
        [this](const Client& client) { return BlockEnd(client, block_); });
    for (CLI::App* const command : {set, end}) {
      command->add_option("--corp", block_.corp, "Corp id, or * for everything")->required();
      command->add_option("--campaign", block_.campaign, "Campaign id; all calls if absent");
      command->add_option("--reason", block_.reason, "Why, for the audit trail")->required();
      command->add_option("--actor", block_.actor, "Who says so")->required();
    }
    AddCorp(AddVerb(noun, "list", "List what is blocked", "  tidegate block list --corp ww1",
                    [this](const Client& client) { return BlockShow(client, corp_); }),
            &corp_);
  }

  void AddDoubt() {
    CLI::App* const noun = AddNoun("doubt", "Calls that may or may not have taken effect");
    AddCorp(AddVerb(noun, "list", "List open and parked doubts",
                    "  tidegate doubt list --corp ww1 --output json",
                    [this](const Client& client) { return DoubtList(client, corp_); }),
            &corp_);
    CLI::App* const show =
        AddVerb(noun, "show", "Show one with what is known",
                "  tidegate doubt show --corp ww1 --call 0123456789abcdef0123456789abcdef",
                [this](const Client& client) { return DoubtShow(client, doubt_); });
    CLI::App* const resolve = AddVerb(
        noun, "resolve", "Say what became of a parked call",
        "  tidegate doubt resolve --corp ww1 --call ID --attempt 1 --as accepted --msgid MSGID \\\n"
        "    --actor li --reason 'task is in the admin console'\n"
        "  tidegate doubt resolve --corp ww1 --call ID --attempt 1 --as not-executed --actor li "
        "\\\n"
        "    --reason 'no task has its marker'\n"
        "\nnot-executed sends again: it takes two actors. abandoned never sends it.",
        [this](const Client& client) { return DoubtResolve(client, doubt_); });
    for (CLI::App* const command : {show, resolve}) {
      AddCorp(command, &doubt_.corp);
      command->add_option("--call", doubt_.call_id, "Call id")->required();
    }
    resolve->add_option("--attempt", doubt_.attempt, "Attempt in doubt")->required();
    resolve->add_option("--as", doubt_.as, "accepted, not-executed or abandoned")->required();
    resolve->add_option("--msgid", doubt_.msgid,
                        "Task id at WeCom; of accepted, but not of a message to members");
    resolve->add_option("--actor", doubt_.actor, "Who says so")->required();
    resolve->add_option("--reason", doubt_.reason, "Why, for the audit trail")->required();
  }

  void AddJournal() {
    CLI::App* const command =
        AddVerb(AddNoun("journal", "The log of a data directory"), "export",
                "Write every topic partition as JSON lines; also beside a running server",
                "  tidegate journal export --data-dir data --out export",
                [this](const Client& client) { return JournalExport(client, journal_); });
    command->add_option("--data-dir", journal_.data_dir, "Data directory to read")->required();
    command->add_option("--out", journal_.out_dir, "Directory to write to")->required();
  }

  void AddGenerate() {
    CLI::App* const noun =
        AddNoun("generate", "Boards of Grafana, alerts and scraping of Prometheus");
    generate_.runbooks_url = generate::kDefaultRunbooksUrl;
    CLI::App* const dashboards =
        AddVerb(noun, "dashboards", "Write the Grafana boards, a JSON file each",
                "  tidegate generate dashboards --out boards",
                [this](const Client& client) { return GenerateDashboards(client, generate_); });
    CLI::App* const alerts =
        AddVerb(noun, "alerts", "Write the alert rules of Prometheus, alerts.yaml",
                "  tidegate generate alerts --out rules\n"
                "  tidegate generate alerts --out rules --runbooks https://wiki.example/tidegate",
                [this](const Client& client) { return GenerateAlerts(client, generate_); });
    CLI::App* const prometheus = AddVerb(
        noun, "prometheus-config",
        "Write prometheus.yml, which scrapes the processes given, and the alerts.yaml that "
        "it reads",
        "  tidegate generate prometheus-config --out prometheus --target "
        "serve=127.0.0.1:7602\n"
        "  tidegate generate prometheus-config --out prometheus \\\n"
        "    --target dispatch=dispatch-0:7602 --target dispatch=dispatch-1:7602",
        [this](const Client& client) { return GeneratePrometheusConfig(client, generate_); });
    for (CLI::App* const command : {dashboards, alerts, prometheus}) {
      command->add_option("--out", generate_.out_dir, "Directory to write to, made when missing")
          ->required();
    }
    for (CLI::App* const command : {alerts, prometheus}) {
      command
          ->add_option("--runbooks", generate_.runbooks_url,
                       "URL of the page with the runbooks; alerts link into it")
          ->capture_default_str();
    }
    prometheus
        ->add_option("--target", generate_.targets,
                     "Admin port to scrape, SERVICE=HOST:PORT; again for more")
        ->allow_extra_args(false)
        ->required();
  }

  void AddVersion() {
    AddVerb(&app_, "version", "Show what was built, for a ticket",
            "  tidegate version --output json", ShowVersion);
  }

  const std::function<absl::Status(const ServeOptions&)> serve_;
  CLI::App app_;
  GlobalOptions global_;
  Verb verb_;

  ServeOptions serve_options_;
  ImportPurchasesOptions purchases_;
  ImportCustomersOptions customers_;
  ChannelAddOptions channel_;
  RuleAddOptions rule_;
  SegmentOptions segment_;
  CampaignCreateOptions campaign_create_;
  CampaignOptions campaign_;
  JournalExportOptions journal_;
  GenerateOptions generate_;
  MessageSendOptions message_;
  TouchOptions touch_;
  BlockOptions block_;
  GrantOptions grant_;
  LimitsOptions limits_;
  DoubtOptions doubt_;
  std::string corp_;  // of the verbs that need no more
};

absl::Status RunVerb(const CommandTree& tree, const CliEnvironment& environment) {
  const GlobalOptions& global = tree.global();
  absl::StatusOr<std::unique_ptr<ClientLog>> log =
      ClientLog::Open(global.client_log, environment.clock);
  if (!log.ok()) return log.status();
  absl::Status connected;
  absl::StatusOr<Channels> channels = MakeChannels(
      global.servers, [&](const std::string& target) -> std::shared_ptr<grpc::Channel> {
        auto channel = environment.connect(target, global.tls);
        connected.Update(channel.status());
        return channel.ok() ? *channel : nullptr;
      });
  if (!channels.ok()) return channels.status();
  if (!connected.ok()) return connected;
  const Connection connection(*std::move(channels),
                              {.timeout_s = global.timeout_s, .wait_s = global.wait_s},
                              environment.clock);
  Client client;
  client.out = environment.out;
  client.err = environment.err;
  client.err_is_terminal = environment.err_is_terminal;
  client.quiet = global.quiet;
  client.json = global.output == "json";
  client.clock = environment.clock;
  client.connection = &connection;
  client.log = log->get();
  absl::Status status = tree.verb()(client);
  status.Update((*log)->status());
  if (environment.out->fail()) status.Update(absl::UnknownError("cannot write the result"));
  return status;
}

}  // namespace

int RunCli(const std::vector<std::string>& arguments, const CliEnvironment& environment) {
  CommandTree tree(environment.serve);
  try {
    tree.Parse(arguments);
  } catch (const CLI::ParseError& error) {
    return tree.Exit(error, *environment.out, *environment.err);
  }
  const absl::Status status = RunVerb(tree, environment);
  if (!status.ok()) *environment.err << DescribeError(status) << std::flush;
  return ExitCodeOf(status);
}

}  // namespace tidegate::client
