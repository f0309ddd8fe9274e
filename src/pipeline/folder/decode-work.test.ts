/** Operations and bytes of a decoded token, of models small enough to count by hand, and at the size of the paper's. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble, openModel } from '../../../converters/index.ts';
import { openCheckpoint } from '../../../formats/checkpoint.ts';
import { unreadCheckpoint } from '../../../test/unread-checkpoint.ts';
import { FIXTURES } from '../../../test/variants.ts';
import type { Checkpoint } from '../../core/checkpoint.ts';
import type { PrecisionName } from '../../core/precision.ts';
import { fuseDecoderParts, fuseSkipNorms } from '../../rewrite/index.ts';
import { decodeWork } from './decode-work.ts';

/** Gemma-2 2B's sizes (Gemma Team 2024), and Spark Transformer's (2506.06644, section 4) with as many parameters. */
const COMMON = {
  vocab_size: 256_000,
  hidden_size: 2304,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 8192,
};
const DENSE = {
  ...COMMON,
  model_type: 'gemma2',
  intermediate_size: 9216,
  layer_types: Array(26).fill('full_attention'),
};
const SPARK = {
  ...COMMON,
  model_type: 'spark',
  intermediate_size: 13_824,
  ffn_predictor_size: 1024,
  ffn_active_neurons: 1106,
  attention_predictor_size: 128,
  attended_tokens: 256,
};

const fused = (checkpoint: Checkpoint, precision: PrecisionName) =>
  fuseDecoderParts(fuseSkipNorms(assemble(openModel(checkpoint, { precision }))));

describe('at the size of the paper’s model, with 4,096 cached tokens', () => {
  const work = (config: typeof DENSE | typeof SPARK, precision: PrecisionName) =>
    decodeWork(fused(unreadCheckpoint({ ...config, tie_word_embeddings: true }), precision), 4096);

  it.each(['fp32', 'bf16', 'int8', 'int4'] as const)(
    '%s: a Spark Transformer has 2.5 times fewer operations',
    async (precision) => {
      const [dense, spark] = [await work(DENSE, precision), await work(SPARK, precision)];
      const attention = 2304 * (8 + 4 + 4 + 8) * 256;
      const cached = 2 * 8 * 256 * 4097;
      expect(dense.flops).toBe(2 * 26 * (attention + 3 * 2304 * 9216 + cached));
      expect(dense.headFlops).toBe(2 * 256_000 * 2304);
      // 8 % of the neurons to the rounding of Q to float32, and 256 keys.
      const ffn = 13_824 * 1024 + 1106 * (1280 + 2304);
      const scores = 8 * (4097 * 128 + 256 * (128 + 256));
      expect(spark.flops / (2 * 26 * (attention + ffn + scores))).toBeCloseTo(1, 4);
      expect(spark.headFlops).toBe(dense.headFlops);
      expect(dense.flops / spark.flops).toBeGreaterThan(2.5);
      expect((dense.flops + dense.headFlops) / (spark.flops + spark.headFlops)).toBeCloseTo(1.955, 2);
      expect(spark.cacheBytes).toBeLessThan(dense.cacheBytes);
      expect(spark.weightBytes).toBeLessThan(0.5 * dense.weightBytes);
    },
  );
});

describe('of a small model', () => {
  it.each([
    ['fp32', 4],
    ['bf16', 2],
  ] as const)('%s: two operations a weight, each read once, and all that is cached', async (precision, bytes) => {
    const checkpoint = await openCheckpoint(join(FIXTURES, 'tiny-llama'));
    const { flops, headFlops, weightBytes, headBytes, cacheBytes } = await decodeWork(fused(checkpoint, precision), 99);
    const weights = 12 * (128 * (4 + 2 + 2 + 4) * 32 + 3 * 128 * 384);
    expect(flops).toBe(2 * (weights + 12 * 2 * 4 * 32 * 100));
    expect(headFlops).toBe(2 * 2048 * 128);
    expect(weightBytes).toBe(bytes * weights);
    expect(headBytes).toBe(bytes * 2048 * 128);
    expect(cacheBytes).toBe(12 * 2 * 2 * 32 * 100 * 4);
  });

  it.each(['int8', 'int6', 'int5', 'int4'] as const)(
    '%s: as many operations, of operators that are one part each',
    async (precision) => {
      const checkpoint = await openCheckpoint(join(FIXTURES, 'tiny-llama'));
      const [floats, blocks] = [
        await decodeWork(fused(checkpoint, 'fp32'), 9),
        await decodeWork(fused(checkpoint, precision), 9),
      ];
      expect(blocks).toMatchObject({ flops: floats.flops, headFlops: floats.headFlops, cacheBytes: floats.cacheBytes });
      // Codes, and a scale of 2 bytes for 32 of them.
      expect(blocks.weightBytes / floats.weightBytes).toBeCloseTo((Number(precision.slice(3)) + 0.5) / 32, 6);
    },
  );
});
