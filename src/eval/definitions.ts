/** What each number of an evaluation means, as `eval` and `bench` print it and docs/evaluation.md states it. */

export const DEFINITIONS = {
  perplexity:
    'exp of the mean negative log-likelihood (natural logarithm) of the scored tokens. The text is encoded without ' +
    'special tokens and cut into windows that do not overlap; a last part shorter than a window is dropped. Each ' +
    'window starts with an empty cache, and with the BOS token where the tokenizer prepends one. Every token of a ' +
    'window is scored but its first.',
  perplexityRatio:
    'perplexity of the model divided by perplexity of the baseline, both on the same scored tokens. Its ' +
    "standard error is the ratio times the standard error, over windows, of the window's mean difference in negative " +
    'log-likelihood.',
  upperBound:
    'what the perplexity ratio is below with a confidence of 95 %: the ratio times exp(t e), e the standard error of its ' +
    "logarithm over windows and t Student's quantile. A budget holds when this bound keeps to it, in every mode.",
  rounding:
    'perplexity of the model with nothing left out divided by perplexity of the baseline: what storing weights in fewer bits costs.',
  leavingOut: 'perplexity of the model divided by perplexity of the same model with nothing left out.',
  meanKl:
    'KL(p || q) in nats: the sum over the vocabulary of p (log p - log q), with p the distribution of the next token by the ' +
    "model with nothing left out (or by the baseline, where the two are stored alike) and q the model's, averaged over scored tokens.",
  top1Agreement: 'share of scored tokens for which these two hold the same token to be the likeliest.',
  all: 'mode "all": the model runs every token of a window, from an empty cache.',
  decode:
    'mode "decode": the model with nothing left out, or the baseline, reads the first half of each window; the model goes on ' +
    'from its cache, and the tokens of the second half are scored but its first.',
  density:
    'neurons computed / (tokens for which the block ran x FFN neurons), over the positions whose logits are scored; ' +
    '1 for a block without a choice.',
  skippedShare: 'FFN blocks skipped / (tokens x layers), over the positions whose logits are scored.',
  computedShare: 'neurons computed / (tokens x layers x FFN neurons): density and skipping together.',
  decodeTokensPerSecond:
    'tokens / seconds while one token a call is decoded, batch 1, over the blocks of a round; the median over the rounds ' +
    'of all repeats, with the 10th and 90th percentile. The tokens fed are those of the text, so no sampling is timed; the native core ' +
    'computes the logits that greedy decoding wants.',
  prefillTokensPerSecond: 'tokens of the prompt / seconds for the one call that reads it, from an empty cache.',
  speedup:
    'time of the first model / time of the second for the same tokens. A round times four blocks in the order first, ' +
    'second, second, first, in one process; a repeat opens both models anew and times a few rounds. The median over the ' +
    'rounds of all repeats, with the 10th and 90th percentile.',
  ffnBytesPerToken: 'bytes of FFN weights read for one decoded token, as the plan expects.',
  weightBytesPerToken:
    'bytes of all matrices read for one decoded token: attention, the FFN as the plan expects, and the output head, ' +
    'of which the native core reads half of each code in 8 bits.',
  bandwidthShare:
    'weightBytesPerToken times decodeTokensPerSecond, divided by what as many threads read from memory in order.',
} as const;
