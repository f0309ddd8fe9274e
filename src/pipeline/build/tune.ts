/** Closes the loop on a plan: what it really leaves out is measured on held-out text, and its thresholds corrected. */
import { isDeepStrictEqual } from 'node:util';
import { readSums } from '../../../formats/statistics.ts';
import { percent } from '../../core/figures.ts';
import type { Graph, Initializer } from '../../core/graph.ts';
import type { HostCosts } from '../../core/host-costs.ts';
import type { AimedPlan, PlanTensors } from '../../core/plan.ts';
import type { Statistics } from '../../core/statistics.ts';
import { TARGETS } from '../../core/target.ts';
import { measureRealised, type Windows } from '../../eval/index.ts';
import { retune } from '../../plan/index.ts';
import { applyPlan } from '../../rewrite/index.ts';
import { type MeasuringJob, openMeasuredSession } from '../engine/measured-session.ts';
import { type ModelFolder, openModelFolder } from '../folder/model-folder.ts';
import type { DenseModel } from '../folder/source.ts';

/** Corrections converge by about a factor of five a round. After four rounds the rest is the text's own noise. */
const MAX_ROUNDS = 4;

/** Half a point: well inside the two points within which a target counts as met, well above what a round can move. */
const CLOSE_ENOUGH = 0.005;

interface TuneInput {
  readonly model: DenseModel;
  readonly plan: AimedPlan;
  readonly tensors: PlanTensors;
  readonly statistics: Statistics;
  readonly costs: HostCosts;
  /** A folder written with this plan. Its weights serve all rounds, because only thresholds change. */
  readonly draft: string;
  readonly windows: Windows;
}

/** The plan, corrected until it leaves out its target to within half a point, or the best of four rounds. */
export async function tunePlan(input: TuneInput, options: MeasuringJob): Promise<AimedPlan> {
  const written = await openModelFolder(input.draft);
  let { plan } = input;
  const { share, outcome, realised: realisedOf } = TARGETS[plan.target.kind];
  const wanted = plan.target.value;
  const planned = plan.blocks.map(({ block }) => block);
  let best = { plan, error: Number.POSITIVE_INFINITY };
  for (let round = 1; round <= MAX_ROUNDS; round++) {
    const measured = await measureDraft(input, plan, written, options);
    const realised = share(measured, planned);
    const error = Math.abs(realised - wanted);
    options.progress?.note(`Round ${round}: ${percent(realised)} of ${outcome}, wanted ${percent(wanted)}`);
    if (error < best.error) best = { plan, error };
    if (error < CLOSE_ENOUGH || round === MAX_ROUNDS) break;
    const next = await retune(plan, input.tensors, input.statistics, realisedOf(measured), readSums, input.costs);
    // Where neurons that add nothing are all that is missing, no threshold brings them back.
    if (isDeepStrictEqual(next.blocks, plan.blocks)) break;
    plan = next;
  }
  return best.plan;
}

async function measureDraft(
  { model, tensors, windows }: TuneInput,
  plan: AimedPlan,
  written: ModelFolder,
  options: MeasuringJob,
) {
  const { graph } = applyPlan(model.graph, plan, tensors, model.rounded?.turnables.get(model.precision.name));
  const session = await openMeasuredSession(written.modelPath, onWrittenWeights(graph, written.graph), options);
  return measureRealised(session, windows, model.spec, options).finally(() => session.close());
}

/** `graph` with its weights read from the file they were written to. Small constants, as thresholds, stay in it. */
function onWrittenWeights(graph: Graph, written: Graph): Graph {
  const onDisk = new Map(written.initializers.map(({ name, data }) => [name, data]));
  const initializers = graph.initializers.map((initializer): Initializer => {
    const data = onDisk.get(initializer.name);
    return data?.kind === 'file' ? { name: initializer.name, data } : initializer;
  });
  return { ...graph, initializers };
}
