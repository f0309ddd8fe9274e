/** plan.json and its tensors: read through the schema in core, and checked for what a schema cannot express. */
import { basename } from 'node:path';
import { LacunaError } from '../src/core/errors.ts';
import {
  actionsOf,
  layerOfBlock,
  type Plan,
  type PlanTensors,
  placeOfBlock,
  planSchema,
  type Repair,
  repairTensors,
} from '../src/core/plan.ts';
import { float32Tensor } from '../src/core/tensor.ts';
import { readFloats } from '../src/tensors/index.ts';
import { readJson, readTensorsBeside, tensorsBesideSchema, writeJson, writeTensorsBeside } from './tensors-beside.ts';

/** Writes the plan and, if it has any, its tensors beside it. Returns the plan as written, bound to them. */
export async function writePlan(plan: Plan, tensors: PlanTensors, jsonPath: string): Promise<Plan> {
  checkPlan(plan, tensors, basename(jsonPath));
  const entries = [...tensors].map(([name, { shape, data }]) => ({ name, data: float32Tensor(data, shape) }));
  const bound = { ...plan, tensors: entries.length === 0 ? null : await writeTensorsBeside(jsonPath, entries) };
  await writeJson(jsonPath, bound);
  return bound;
}

/**
 * Reads a plan of this version or of version 1. Throws `not-found`; `bad-file` for a file that is not such a plan,
 * names a block twice, or names a tensor that is missing or of a wrong shape; `mismatch` when the tensors are not those
 * it was written with; `non-finite` for tensors with NaN or infinity.
 */
export async function readPlan(jsonPath: string): Promise<{ plan: Plan; tensors: PlanTensors }> {
  const plan = await readJson(jsonPath, planSchema, 'plan');
  const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  if (plan.tensors !== null) {
    const bound = tensorsBesideSchema.safeParse(plan.tensors);
    if (!bound.success) throw badPlan(jsonPath, `"tensors" must name a .safetensors file beside it and its sha256`);
    for (const [name, tensor] of await readTensorsBeside(jsonPath, bound.data))
      tensors.set(name, { shape: tensor.shape, data: await readFloats(tensor) });
  }
  checkPlan(plan, tensors, jsonPath);
  return { plan, tensors };
}

/** What the schema cannot express: that the parts of a plan fit together. */
function checkPlan(plan: Plan, tensors: PlanTensors, path: string): void {
  let previous: string | undefined;
  for (const block of plan.blocks) {
    if (layerOfBlock(block.block) >= plan.model.numHiddenLayers)
      throw badPlan(path, `block ${block.block} is past the model's ${plan.model.numHiddenLayers} layers`);
    if (previous !== undefined && placeOfBlock(block.block) <= placeOfBlock(previous))
      throw badPlan(path, `block ${block.block} is not after ${previous}; blocks go in layer order, once each`);
    previous = block.block;
    if (plan.target === null && actionsOf(block).length > 0)
      throw badPlan(path, `block ${block.block} leaves something out, but "target" is null`);
    if (block.skip !== undefined && plan.skipping === null)
      throw badPlan(path, `block ${block.block} may be skipped, but "skipping" is null`);
    const weights = block.choice?.tensors.weights;
    if (weights !== undefined) checkWeights(plan, tensors, weights, path);
    if (block.repair !== undefined) checkRepair(plan, tensors, block.repair, path);
  }
}

function checkWeights(plan: Plan, tensors: PlanTensors, name: string, path: string): void {
  const weights = tensors.get(name);
  const wanted = `float32 [${plan.model.intermediateSize}]`;
  if (weights === undefined) throw badPlan(path, `tensor "${name}" is missing, wanted ${wanted}`);
  if (weights.shape.length !== 1 || weights.shape[0] !== plan.model.intermediateSize)
    throw badPlan(path, `tensor "${name}" is [${weights.shape}], wanted ${wanted}`);
  const negative = weights.data.find((weight) => !(weight >= 0));
  if (negative !== undefined) throw badPlan(path, `tensor "${name}" holds ${negative}, score weights are not negative`);
}

function checkRepair({ model }: Plan, tensors: PlanTensors, repair: Repair, path: string): void {
  for (const { name, shape } of repairTensors(repair, model.hiddenSize)) {
    const found = tensors.get(name);
    const wanted = `float32 [${shape}]`;
    if (found === undefined) throw badPlan(path, `tensor "${name}" is missing, wanted ${wanted}`);
    if (String(found.shape) !== String(shape))
      throw badPlan(path, `tensor "${name}" is [${found.shape}], wanted ${wanted}`);
  }
}

export function badPlan(path: string, what: string): LacunaError {
  return new LacunaError('bad-file', `Plan ${path}: ${what}`, {
    hint: 'Correct the plan, or make it again with lacuna plan.',
  });
}
