// How well layers reproduce their outputs from some of their inputs, once their weights are the
// best ones for those: optimal brain surgery (Hassibi & Stork 1993) on whole channels, exactly.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace secateur {

// A layer that reads the players' channels. The unknowns of its least squares are its inputs:
// channels times kernel cells.
struct Consumer {
  int64_t unknowns = 0, outputs = 0;
  std::vector<double> covariance;  // [unknowns, unknowns], symmetric
  std::vector<double> weights;     // [outputs, unknowns]; scale rows to weigh outputs
  std::vector<int32_t> owners;     // [unknowns]: the player whose channel it is, -1 where it stays
};

// For a consumer with weights W, covariance G (ridge added) and P = G^-1, taking the unknowns R away
// costs E(R) = trace(W_R (P_RR)^-1 W_R^T), the part of the outputs' second moment, ridge on changed
// weights included, that no weights on the others give back. Costs add up over consumers, and what
// goes later is charged on top of what went before.
//
// Not for two threads at once. Everything throws Error("cancelled") soon after `cancelled` is set, and
// Error("numeric-failure") where a covariance is not positive definite; players may then be half gone,
// so nothing more may be asked.
class Reproduction {
 public:
  // `ridge` is relative to each covariance's mean diagonal. Throws Error("program-invalid") where
  // sizes or owners do not fit, Error("numeric-failure") where numbers are not finite.
  Reproduction(std::vector<Consumer> consumers, int32_t players, double ridge);

  // Marginal costs along walks over players that are still in: [walks, depth], walk after walk.
  // What a walk takes away is back before the next. `threads` share the walks.
  std::vector<double> walk(std::span<const int32_t> walks, int64_t depth, int threads,
                           const std::atomic<bool>& cancelled);

  // Takes players away for good, in order; what each cost on top of those before.
  std::vector<double> remove(std::span<const int32_t> players, const std::atomic<bool>& cancelled);

  struct Elimination {
    std::vector<int32_t> players;
    std::vector<double> costs;
  };
  // Takes away `count` players, always the one that costs least (the first of equals).
  Elimination eliminate(int64_t count, const std::atomic<bool>& cancelled);

  // A consumer's weights [outputs, unknowns], compensated for who has gone; zero where they read them.
  std::vector<double> weights(int64_t consumer, const std::atomic<bool>& cancelled);

  // Of what it holds for as long as it lives.
  int64_t bytes() const;

 private:
  // Unknowns in the order of their owners, those that stay last.
  struct Layer {
    int64_t unknowns, outputs;
    std::vector<int64_t> order;    // [unknowns]: where each stands in the consumer
    std::vector<int64_t> first;    // [players + 1]: where each player's unknowns begin
    std::vector<double> inverse;   // [unknowns, unknowns], of what is left
    std::vector<double> weights;   // [outputs, unknowns], compensated for what went

    std::vector<int64_t> unknowns_of(std::span<const int32_t> players) const;
    // W_R^T [chosen, outputs], and P_RR [chosen, chosen] in `square`.
    std::vector<double> factor(std::span<const int64_t> chosen, std::vector<double>& square) const;
    void add_costs(std::span<const int32_t> players, const double* rows, double* costs) const;
    void take_away(std::span<const int32_t> players, double* costs,
                   const std::atomic<bool>& cancelled);
  };

  void prepare(const std::atomic<bool>& cancelled);
  void walk_once(std::span<const int32_t> walk, double* costs,
                 const std::atomic<bool>& cancelled) const;
  void require_in(std::span<const int32_t> walk) const;

  const int32_t players_;
  const double ridge_;
  std::vector<Consumer> consumers_;  // until prepared
  std::vector<Layer> layers_;
  std::vector<char> gone_;  // [players]
  int64_t left_;
};

}  // namespace secateur
