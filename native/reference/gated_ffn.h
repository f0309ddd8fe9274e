// GatedFFN as plain loops in double, one token at a time, for testing its kernels.
#ifndef LACUNA_REFERENCE_GATED_FFN_H_
#define LACUNA_REFERENCE_GATED_FFN_H_

#include <vector>

#include "kernels/gated_ffn.h"

namespace lacuna::reference {

double Activate(Activation activation, double x);
// What act(gate) is multiplied with.
double ActivateUp(Activation activation, double up);

// cos(residual, residual + y); 0 if either is a zero vector.
double Saturation(const float* residual, const std::vector<double>& y);

struct GatedFfnToken {
  // After biases and post-norm.
  std::vector<double> y;
  // Before the post-norm.
  std::vector<double> raw;
  double saturation = 0;
  int kept = 0;
};

// The inputs of the products; the stream is already normed. If `residual` is null, there is no saturation.
GatedFfnToken RunGatedFfn(const GatedFfn& ffn, const float* x, const float* residual, bool choose_all);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_GATED_FFN_H_
