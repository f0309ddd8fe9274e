/** Plans of version 1 said `select` for what is a `choice` now; they are read as what they mean. */
import { isJsonObject, type JsonObject } from './json.ts';

/** Turns a `plan` of version 1 into version 2. A schema then checks it. */
export function toThisVersion(plan: unknown): unknown {
  if (!isJsonObject(plan) || plan.version !== 1) return plan;
  return { ...plan, version: 2, blocks: Array.isArray(plan.blocks) ? plan.blocks.map(toThisBlock) : plan.blocks };
}

function toThisBlock(block: unknown): unknown {
  if (!isJsonObject(block) || !isJsonObject(block.select)) return block;
  const { select, ...rest } = block;
  return { ...rest, choice: toChoice(block.select) };
}

function toChoice({ kind, scale, threshold, weights, density, mode }: JsonObject): object {
  if (kind === 'threshold')
    return {
      measure: 'activation',
      cut: { kind: scale === 'token-mean' ? 'mean' : scale, threshold },
      rest: 'nothing',
      tensors: { weights },
    };
  const measure = kind === 'statistical' ? 'gate' : kind;
  return { measure, cut: { kind: 'deviation', density, mode }, rest: 'nothing', tensors: {} };
}
