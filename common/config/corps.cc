#include "common/config/corps.h"

#include <sys/stat.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace tidegate::config {
namespace {

namespace json = boost::json;

absl::Status CheckPrivate(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": no such file"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " holds secrets and others may read it; run: chmod 600 ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  RETURN_IF_ERROR(CheckPrivate(path));
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return text.str();
}

// A required, non-empty string of an object.
absl::StatusOr<std::string> StringAt(const json::object& object, const char* key,
                                     const std::string& where) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string() || value->as_string().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".", key, ": write a non-empty string"));
  }
  return std::string(value->as_string());
}

absl::Status CheckKeys(const json::object& object, const std::set<std::string>& known,
                       const std::string& where) {
  for (const auto& item : object) {
    if (known.contains(std::string(item.key()))) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": unknown key \"", std::string(item.key()), "\"; remove or correct it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<const json::array*> ArrayAt(const json::object& object, const char* key,
                                           const std::string& where) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array() || value->as_array().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, key, ": write an array with at least one entry"));
  }
  return &value->as_array();
}

// The corp's own lane, if it has one.
absl::StatusOr<std::optional<uint32_t>> LaneAt(const json::object& object, uint32_t lanes,
                                               const std::string& where) {
  const json::value* value = object.if_contains("lane");
  if (value == nullptr) return std::nullopt;
  if (!value->is_int64() || value->as_int64() < 0 || value->as_int64() >= lanes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ".lane is ", json::serialize(*value),
                                                   "; write a whole number from 0 to ", lanes - 1,
                                                   ", since the setting lanes is ", lanes));
  }
  return static_cast<uint32_t>(value->as_int64());
}

}  // namespace

const Corp* Corps::Find(absl::string_view corp_id) const {
  for (const Corp& corp : corps) {
    if (corp_id == corp.corp_id) return &corp;
  }
  return nullptr;
}

LaneMap Corps::Lanes(uint32_t lanes) const {
  LaneMap::Given given;
  for (const Corp& corp : corps) {
    if (corp.lane.has_value()) given[corp.corp_id] = *corp.lane;
  }
  return LaneMap(lanes, std::move(given));
}

absl::StatusOr<Corps> LoadCorps(const std::string& path, uint32_t lanes) {
  ASSIGN_OR_RETURN(const std::string text, ReadWhole(path));
  boost::system::error_code error;
  const json::value root = json::parse(text, error);
  if (error || !root.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a JSON object"));
  }
  const auto in_file = [&](absl::Status status) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  };
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const auto resolve = [&](const std::string& file) {
    return std::filesystem::path(file).is_absolute() ? file : (folder / file).string();
  };
  if (auto status = CheckKeys(root.as_object(), {"corps"}, "top level"); !status.ok()) {
    return in_file(status);
  }
  auto corps = ArrayAt(root.as_object(), "corps", "");
  if (!corps.ok()) return in_file(corps.status());
  Corps loaded;
  for (size_t c = 0; c < (*corps)->size(); ++c) {
    const std::string where = absl::StrCat("corps[", c, "]");
    const json::value& value = (**corps)[c];
    if (!value.is_object()) return in_file(absl::InvalidArgumentError(where + ": write an object"));
    const json::object& object = value.as_object();
    if (auto status = CheckKeys(object, {"corp_id", "apps", "lane"}, where); !status.ok())
      return in_file(status);
    Corp corp;
    auto corp_id = StringAt(object, "corp_id", where);
    if (!corp_id.ok()) return in_file(corp_id.status());
    corp.corp_id = *corp_id;
    if (loaded.Find(corp.corp_id) != nullptr) {
      return in_file(absl::InvalidArgumentError(absl::StrCat(where, ".corp_id: stands twice")));
    }
    auto lane = LaneAt(object, lanes, where);
    if (!lane.ok()) return in_file(lane.status());
    corp.lane = *lane;
    auto apps = ArrayAt(object, "apps", where + ".");
    if (!apps.ok()) return in_file(apps.status());
    for (size_t a = 0; a < (*apps)->size(); ++a) {
      const std::string app_where = absl::StrCat(where, ".apps[", a, "]");
      if (!(**apps)[a].is_object()) {
        return in_file(absl::InvalidArgumentError(app_where + ": write an object"));
      }
      const json::object& app_object = (**apps)[a].as_object();
      if (auto status = CheckKeys(app_object, {"agent_id", "secret_file", "token", "aes_key_file"},
                                  app_where);
          !status.ok()) {
        return in_file(status);
      }
      App app;
      for (const auto& [key, field] :
           {std::pair{"agent_id", &App::agent_id}, std::pair{"secret_file", &App::secret_file},
            std::pair{"token", &App::token}, std::pair{"aes_key_file", &App::aes_key_file}}) {
        auto text_value = StringAt(app_object, key, app_where);
        if (!text_value.ok()) return in_file(text_value.status());
        app.*field = *text_value;
      }
      for (const App& other : corp.apps) {
        if (other.agent_id != app.agent_id) continue;
        return in_file(
            absl::InvalidArgumentError(absl::StrCat(app_where, ".agent_id: stands twice")));
      }
      app.secret_file = resolve(app.secret_file);
      app.aes_key_file = resolve(app.aes_key_file);
      corp.apps.push_back(std::move(app));
    }
    loaded.corps.push_back(std::move(corp));
  }
  return loaded;
}

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, ReadWhole(path));
  text = text.substr(0, text.find_first_of("\r\n"));
  if (text.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  return text;
}

}  // namespace tidegate::config
