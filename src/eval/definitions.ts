/** The definition of each number of an evaluation, as `eval` and `bench` print it and docs/evaluation.md states it. */

export const DEFINITIONS = {
  perplexity:
    'exp of the mean negative log-likelihood (natural logarithm) of the scored tokens. The text is encoded ' +
    'without special tokens and cut into windows that do not overlap; a last part shorter than a window is ' +
    'dropped. Each window starts with an empty cache, and with the BOS token where the tokenizer prepends one. ' +
    'All tokens of a window are scored, except its first.',
  perplexityRatio:
    'perplexity of the model divided by perplexity of the baseline, both on the same scored tokens. Its standard ' +
    "error is the ratio times the standard error, over windows, of the window's mean difference in negative " +
    'log-likelihood.',
  upperBound:
    'with a confidence of 95 % the perplexity ratio is below this value: the ratio times exp(t e), where e is the ' +
    "standard error of its logarithm over windows and t is Student's quantile. A model keeps to a budget when " +
    'this bound does, in every mode.',
  rounding:
    'perplexity of the model with nothing left out divided by perplexity of the baseline: what storing weights in ' +
    'fewer bits costs.',
  leavingOut: 'perplexity of the model divided by perplexity of the same model with nothing left out.',
  meanKl:
    'KL(p || q) in nats, averaged over scored tokens: the sum over the vocabulary of p (log p - log q). q is the ' +
    "model's distribution of the next token; p is that of the model with nothing left out, or of the baseline " +
    'where both are stored alike.',
  klUpperBound: "with a confidence of 95 % meanKl is below this, by Student's quantile and how windows differ.",
  top1Agreement: 'share of scored tokens for which the distributions p and q have the same likeliest token.',
  all: 'mode "all": the model runs every token of a window, from an empty cache.',
  decode:
    'mode "decode": the model with nothing left out, or the baseline, reads the first half of each window. The ' +
    'model continues from its cache, or from its own where caches cannot be handed over. The tokens of the second ' +
    'half are scored, except its first.',
  density:
    'neurons computed / (tokens for which the block ran x FFN neurons), over the positions whose logits are ' +
    'scored; 1 for a block without a choice.',
  skippedShare: 'FFN blocks skipped / (tokens x layers), over the positions whose logits are scored.',
  computedShare: 'neurons computed / (tokens x layers x FFN neurons): density and skipping together.',
  attendedKeys:
    'keys that a head attends to for a token, averaged over heads, layers that choose them, and the positions whose ' +
    'logits are scored.',
  decodeTokensPerSecond:
    'tokens / seconds while one token a call is decoded, batch 1, over the blocks of a round; the median over the ' +
    'rounds of all repeats, with the 10th and 90th percentile. The tokens come from the text, so no sampling is ' +
    'timed. The native core computes the logits that greedy decoding needs.',
  prefillTokensPerSecond: 'tokens of the prompt / seconds for the one call that reads it, from an empty cache.',
  speedup:
    'time of the first model / time of the second for the same tokens. A round times four blocks in the order ' +
    'first, second, second, first, in one process; a repeat opens both models anew and times a few rounds. The ' +
    'value is the median over the rounds of all repeats, with the 10th and 90th percentile. The bounds are what the ' +
    "mean ratio is above and below, with a confidence of 95 % each, by Student's quantile over the repeats.",
  ffnBytesPerToken: 'bytes of FFN weights read for one decoded token, as the plan expects.',
  weightBytesPerToken:
    'bytes of all matrices read for one decoded token: attention, the FFN as the plan expects, and the output ' +
    'head. The native core reads only half of each code of an 8-bit head.',
  bandwidthShare:
    'weightBytesPerToken times decodeTokensPerSecond, divided by the bytes a second that as many threads read ' +
    'from memory in order.',
  expectedTokensPerSecond:
    'tokens / seconds of decoding by the costs of the host, known before anything is measured: those that `lacuna ' +
    'host` kept, or the package’s own. Blocks compute and skip what the plan expects.',
  expectedError: 'the expected time of a step divided by the measured one, less 1.',
  expectedSpeedup: 'expected time of the first model / expected time of the second.',
} as const;
