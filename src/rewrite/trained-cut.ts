/** Gives FFNs that were trained to be sparse one GatedFFN operator each: the same numbers, and fewer rows read. */
import type { Graph } from '../core/graph.ts';
import { ffnBlock } from '../core/model.ts';
import { Bodies } from '../ops/index.ts';
import { gatedBlock, withBlocks } from './gated-block.ts';
import { indexGraph } from './graph-index.ts';
import { type FfnMatch, matchFfn } from './match-ffn.ts';
import type { Pass } from './pass.ts';
import type { Refusal } from './pattern.ts';
import type { BlockContext } from './plan-context.ts';
import { reportOf, withKnownRecords } from './sparse-ffn.ts';

export type TrainedCutContext = Pick<BlockContext, 'rounded'>;

/**
 * Before: open = max(gate - (mean + deviation * Q), 0); ffn_out = down(act(open) * up x), node by node
 * After:  ffn_out = GatedFFN(x, weights neuron by neuron), measure gate, cut deviation, mode soft, quantile Q
 *
 * Before: ffn_out = down(relu(gate) * up x), or with gates that are at least t and 0 for all others
 * After:  ffn_out = GatedFFN(x, weights neuron by neuron, threshold), measure activation, cut absolute
 *
 * Activations are 0 at 0, so neurons whose gates are cut add nothing, and the two are equal to rounding. Concerns blocks
 * that no pass before has taken. Refuses where `matchFfn` does, and where records cannot be made of rounded weights.
 */
export const trainedCut: Pass<TrainedCutContext> = {
  name: 'trained-cut',
  description: 'gate, Relu or cut and activation, Mul, down -> GatedFFN that chooses by its gates',
  apply(graph, { rounded }) {
    const layers = cutLayers(graph);
    if (layers.length === 0) return { graph, report: [] };
    const index = indexGraph(graph);
    const context: BlockContext = { prefill: 'sparse', tensors: new Map(), rounded };
    const found = layers.map((layer) => {
      const asked = { block: ffnBlock(layer), choice: undefined };
      const match = matchFfn(index, layer);
      return { asked, match: match.kind === 'match' ? takeable(match, asked, context) : match };
    });
    const bodies = new Bodies(graph.functions);
    const blocks = found.flatMap(({ asked, match }) =>
      match.kind === 'match' ? [gatedBlock(context, bodies, asked, match)] : [],
    );
    return {
      graph: blocks.length === 0 ? graph : withBlocks(graph, bodies, blocks),
      report: found.map(({ asked, match }) => reportOf(trainedCut.name, asked, match)),
    };
  },
};

const WITH_ZEROS = ['Relu', 'ThresholdedRelu'];

/** Layers whose activation leaves zeros, and those between whose gate and its activation something stands. */
function cutLayers({ nodes }: Graph): number[] {
  const acts = nodes.flatMap((node) => {
    const [, layer] = /^layers\.(\d+)\.act$/.exec(node.outputs[0] ?? '') ?? [];
    return layer === undefined ? [] : [{ layer: Number(layer), node }];
  });
  const isCut = ({ layer, node }: (typeof acts)[number]) =>
    WITH_ZEROS.includes(node.opType) || !node.inputs.includes(`layers.${layer}.gate`);
  return acts.filter(isCut).map(({ layer }) => layer);
}

function takeable(
  match: FfnMatch,
  asked: Parameters<typeof withKnownRecords>[0],
  context: BlockContext,
): FfnMatch | Refusal {
  if (match.trained === undefined) return { kind: 'refused', reason: 'its gates are not cut' };
  return withKnownRecords(asked, match, context) ?? match;
}
