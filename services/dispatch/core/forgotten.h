// What has ended is forgotten by a record. Commands: by a CommandsDropped with this reason, whoever
// keeps them.
#pragma once

namespace tidegate::dispatch {

inline constexpr char kForgotten[] = "forgotten";

// What one record may name, and what is looked at for it; the next has the rest.
inline constexpr int kForgottenMax = 1'000;
inline constexpr int kForgetLooksMax = 10'000;

}  // namespace tidegate::dispatch
