#include "linear_algebra/reproduction.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "cpu/execution/team.h"
#include "error.h"
#include "linear_algebra/cholesky.h"
#include "linear_algebra/product.h"

namespace secateur {

namespace {

constexpr int64_t kLargestUnknowns = 1 << 14;
// Players taken away by one update of the inverse, which reads and writes all of it.
constexpr size_t kTogether = 16;

void require(bool holds, const char* sentence) {
  if (!holds) throw Error("program-invalid", sentence);
}

void check(const Consumer& consumer, int32_t players) {
  const auto [n, m, covariance, weights, owners] = consumer;
  require(n >= 1 && n <= kLargestUnknowns && m >= 1, "Expected consumers of 1 to 16384 unknowns.");
  require(covariance.size() == static_cast<size_t>(n * n) &&
              weights.size() == static_cast<size_t>(m * n) &&
              owners.size() == static_cast<size_t>(n),
          "Expected a consumer's covariance [n, n], weights [m, n] and owners [n].");
  require(std::ranges::all_of(owners, [=](int32_t o) { return o >= -1 && o < players; }),
          "Expected owners of unknowns to be players, or -1.");
  const auto finite = [](double x) { return std::isfinite(x); };
  if (!std::ranges::all_of(covariance, finite) || !std::ranges::all_of(weights, finite)) {
    throw Error("numeric-failure", "Expected finite covariances and weights of a consumer.");
  }
}

// Unknowns by owner, those that stay last, each owner's in their own order.
std::vector<int64_t> order_of(const std::vector<int32_t>& owners, int32_t players) {
  std::vector<int64_t> order(owners.size());
  std::iota(order.begin(), order.end(), 0);
  const auto key = [&](int64_t i) { return owners[i] < 0 ? players : owners[i]; };
  std::ranges::stable_sort(order, {}, key);
  return order;
}

// (G + ridge * mean(diagonal) * I)^-1 in the given order, [n, n].
std::vector<double> inverse_of(const Consumer& consumer, const std::vector<int64_t>& order,
                               double ridge, const std::atomic<bool>& cancelled) {
  const int64_t n = consumer.unknowns;
  std::vector<double> ordered(static_cast<size_t>(n * n)), inverse(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      ordered[i * n + j] = consumer.covariance[order[i] * n + order[j]];
    }
    inverse[i * n + i] = 1;
  }
  cholesky_solve(ordered, inverse, n, n, ridge, cancelled);
  return inverse;
}

double sum_of_squares(const double* from, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += from[i] * from[i];
  return sum;
}

}  // namespace

Reproduction::Reproduction(std::vector<Consumer> consumers, int32_t players, double ridge)
    : players_(players), ridge_(ridge), consumers_(std::move(consumers)),
      gone_(static_cast<size_t>(std::max(players, 0)), 0), left_(players) {
  require(players >= 1, "Expected at least one player.");
  require(ridge >= 0 && std::isfinite(ridge), "Expected a ridge of 0 or more.");
  for (const Consumer& consumer : consumers_) check(consumer, players);
}

int64_t Reproduction::bytes() const {
  int64_t numbers = 0;
  for (const Consumer& one : consumers_) numbers += one.unknowns * (one.unknowns + one.outputs);
  return numbers * int64_t{sizeof(double)};
}

void Reproduction::prepare(const std::atomic<bool>& cancelled) {
  while (layers_.size() < consumers_.size()) {
    stop_if(cancelled);
    Consumer& consumer = consumers_[layers_.size()];
    const int64_t n = consumer.unknowns, m = consumer.outputs;
    const std::vector<int64_t> order = order_of(consumer.owners, players_);
    Layer layer{n, m, order, std::vector<int64_t>(static_cast<size_t>(players_) + 1, 0),
                inverse_of(consumer, order, ridge_, cancelled),
                std::vector<double>(static_cast<size_t>(m * n))};
    for (const int32_t owner : consumer.owners) {
      if (owner >= 0) ++layer.first[static_cast<size_t>(owner) + 1];
    }
    std::partial_sum(layer.first.begin(), layer.first.end(), layer.first.begin());
    for (int64_t o = 0; o < m; ++o) {
      for (int64_t i = 0; i < n; ++i) {
        layer.weights[o * n + i] = consumer.weights[o * n + order[i]];
      }
    }
    consumer.covariance = {};
    consumer.weights = {};
    layers_.push_back(std::move(layer));
  }
}

void Reproduction::require_in(std::span<const int32_t> walk) const {
  std::vector<char> seen(gone_.begin(), gone_.end());
  for (const int32_t player : walk) {
    require(player >= 0 && player < players_ && !seen[static_cast<size_t>(player)],
            "Expected a walk over different players that are still in.");
    seen[static_cast<size_t>(player)] = 1;
  }
}

std::vector<double> Reproduction::walk(std::span<const int32_t> walks, int64_t depth, int threads,
                                       const std::atomic<bool>& cancelled) {
  require(depth >= 1 && walks.size() % static_cast<size_t>(depth) == 0,
          "Expected walks of one depth.");
  prepare(cancelled);
  const auto count = static_cast<int64_t>(walks.size()) / depth;
  std::vector<double> costs(walks.size(), 0.0);
  for (int64_t w = 0; w < count; ++w) require_in(walks.subspan(w * depth, depth));
  Team team(static_cast<int>(std::clamp<int64_t>(threads, 1, std::max<int64_t>(1, count))));
  team.run(count, [&](int64_t w, int) {
    stop_if(cancelled);
    walk_once(walks.subspan(w * depth, depth), costs.data() + w * depth, cancelled);
  });
  return costs;
}

std::vector<int64_t> Reproduction::Layer::unknowns_of(std::span<const int32_t> players) const {
  std::vector<int64_t> found;
  for (const int32_t player : players) {
    for (int64_t i = first[player]; i < first[player + 1]; ++i) found.push_back(i);
  }
  return found;
}

// With R's unknowns in the order of the players, the rows of L^-1 W_R^T that belong to a player are
// what it costs on top of those before: P_RR = L L^T, and longer walks only append rows.
std::vector<double> Reproduction::Layer::factor(std::span<const int64_t> chosen,
                                                std::vector<double>& square) const {
  const auto q = static_cast<int64_t>(chosen.size());
  square.resize(static_cast<size_t>(q * q));
  std::vector<double> rows(static_cast<size_t>(q * outputs));
  for (int64_t i = 0; i < q; ++i) {
    const double* const row = inverse.data() + chosen[i] * unknowns;
    for (int64_t j = 0; j <= i; ++j) square[i * q + j] = row[chosen[j]];
    for (int64_t o = 0; o < outputs; ++o) {
      rows[i * outputs + o] = weights[o * unknowns + chosen[i]];
    }
  }
  return rows;
}

void Reproduction::Layer::add_costs(std::span<const int32_t> players, const double* rows,
                                    double* costs) const {
  for (const int32_t player : players) {
    const int64_t numbers = (first[player + 1] - first[player]) * outputs;
    *costs++ += sum_of_squares(rows, numbers);
    rows += numbers;
  }
}

void Reproduction::walk_once(std::span<const int32_t> walk, double* costs,
                             const std::atomic<bool>& cancelled) const {
  std::vector<double> square;
  for (const Layer& layer : layers_) {
    const std::vector<int64_t> chosen = layer.unknowns_of(walk);
    if (chosen.empty()) continue;
    std::vector<double> rows = layer.factor(chosen, square);
    CholeskyFactor(square.data(), static_cast<int64_t>(chosen.size()), cancelled)
        .forward(rows.data(), layer.outputs);
    layer.add_costs(walk, rows.data(), costs);
  }
}

// With U = L^-1 P_R,: the others' inverse loses U^T U and their weights lose W_R L^-T U.
void Reproduction::Layer::take_away(std::span<const int32_t> players, double* costs,
                                    const std::atomic<bool>& cancelled) {
  const std::vector<int64_t> chosen = unknowns_of(players);
  const auto q = static_cast<int64_t>(chosen.size());
  if (q == 0) return;
  std::vector<double> square;
  std::vector<double> rows = factor(chosen, square);
  std::vector<double> crossing(static_cast<size_t>(q * unknowns));
  for (int64_t i = 0; i < q; ++i) {
    std::copy_n(inverse.data() + chosen[i] * unknowns, unknowns, crossing.data() + i * unknowns);
  }
  const CholeskyFactor cholesky(square.data(), q, cancelled);
  cholesky.forward(rows.data(), outputs);
  cholesky.forward(crossing.data(), unknowns);
  add_costs(players, rows.data(), costs);
  const std::vector<double> left = transposed(crossing.data(), unknowns, q, unknowns);
  const std::vector<double> left_weights = transposed(rows.data(), outputs, q, outputs);
  const SubtractProduct subtract = subtract_product();
  subtract({inverse.data(), left.data(), crossing.data(), unknowns, q, unknowns, unknowns, unknowns,
            q});
  subtract({weights.data(), left_weights.data(), crossing.data(), unknowns, q, unknowns, outputs,
            unknowns, q});
}

std::vector<double> Reproduction::remove(std::span<const int32_t> players,
                                         const std::atomic<bool>& cancelled) {
  require_in(players);
  prepare(cancelled);
  std::vector<double> costs(players.size(), 0.0);
  for (size_t first = 0; first < players.size(); first += kTogether) {
    stop_if(cancelled);
    const size_t count = std::min(kTogether, players.size() - first);
    for (Layer& layer : layers_) {
      layer.take_away(players.subspan(first, count), &costs[first], cancelled);
    }
    for (const int32_t player : players.subspan(first, count)) gone_[player] = 1;
    left_ -= static_cast<int64_t>(count);
  }
  return costs;
}

Reproduction::Elimination Reproduction::eliminate(int64_t count,
                                                  const std::atomic<bool>& cancelled) {
  require(count >= 0 && count <= left_, "Expected to eliminate no more players than are in.");
  prepare(cancelled);
  Elimination result;
  for (int64_t step = 0; step < count; ++step) {
    int32_t best = -1;
    double least = std::numeric_limits<double>::infinity();
    for (int32_t player = 0; player < players_; ++player) {
      if (gone_[static_cast<size_t>(player)]) continue;
      double cost = 0;
      walk_once(std::span(&player, 1), &cost, cancelled);
      if (best >= 0 && !(cost < least)) continue;
      best = player;
      least = cost;
    }
    result.players.push_back(best);
    result.costs.push_back(remove(std::span(&best, 1), cancelled)[0]);
  }
  return result;
}

std::vector<double> Reproduction::weights(int64_t consumer, const std::atomic<bool>& cancelled) {
  require(consumer >= 0 && consumer < static_cast<int64_t>(consumers_.size()),
          "Expected the index of a consumer.");
  prepare(cancelled);
  const Layer& layer = layers_[static_cast<size_t>(consumer)];
  const std::vector<int32_t>& owners = consumers_[static_cast<size_t>(consumer)].owners;
  std::vector<double> result(layer.weights.size());
  for (int64_t i = 0; i < layer.unknowns; ++i) {
    const int64_t at = layer.order[i];
    // What is left of those that went is rounding.
    if (owners[at] >= 0 && gone_[owners[at]]) continue;
    for (int64_t o = 0; o < layer.outputs; ++o) {
      result[o * layer.unknowns + at] = layer.weights[o * layer.unknowns + i];
    }
  }
  return result;
}

}  // namespace secateur
