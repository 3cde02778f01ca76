// Things that are numbered from 0 on in the order in which they came, and are forgotten one by one.
// A number is never given again. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace tidegate::dispatch {

template <typename T>
class NumberedList {
 public:
  // The number of the next one; so many came until now.
  uint32_t next() const { return next_; }
  size_t kept() const { return kept_.size(); }
  T& Add() { return kept_[next_++]; }
  void Forget(uint32_t number) { kept_.erase(number); }
  // nullptr: it was forgotten, or did not come yet.
  const T* Find(uint32_t number) const {
    const auto found = kept_.find(number);
    return found == kept_.end() ? nullptr : &found->second;
  }
  // Of one that is kept.
  T& operator[](uint32_t number) { return kept_.at(number); }
  const T& operator[](uint32_t number) const { return kept_.at(number); }
  // Number and thing, in their order.
  auto begin() { return kept_.begin(); }
  auto end() { return kept_.end(); }
  auto begin() const { return kept_.begin(); }
  auto end() const { return kept_.end(); }

 private:
  std::map<uint32_t, T> kept_;
  uint32_t next_ = 0;
};

}  // namespace tidegate::dispatch
