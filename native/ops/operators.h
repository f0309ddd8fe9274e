// The operators of the `lacuna` domain, by file. An operator has one op type for each body that a model may hold. Its
// kernel reads inputs and attributes, not the name.
#ifndef LACUNA_OPS_OPERATORS_H_
#define LACUNA_OPS_OPERATORS_H_

#include "ops/ort.h"

namespace lacuna {

void AddStatisticalTopK(ort::Operators& operators);
void AddGatedFfn(ort::Operators& operators);
void AddFfnSkip(ort::Operators& operators);
void AddNormAttention(ort::Operators& operators);
void AddNormProduct(ort::Operators& operators);
void AddSparkAttention(ort::Operators& operators);

}  // namespace lacuna

#endif  // LACUNA_OPS_OPERATORS_H_
