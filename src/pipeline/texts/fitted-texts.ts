/** Notes that a model is measured on a text that it was fitted to. */
import type { ManifestModel } from '../../core/manifest.ts';
import type { Plan } from '../../core/plan.ts';
import type { Progress } from '../../core/progress.ts';

export interface FittedModel {
  readonly model: Pick<ManifestModel, 'calibratedOn'>;
  readonly manifest: { readonly plan: Pick<Plan, 'texts'> | null };
}

/** Texts are compared by their bytes: those of the plan's statistics, and those that rounded the weights. */
export function noteFittedTexts(
  { model, manifest }: FittedModel,
  texts: readonly { readonly name: string; readonly sha256: string }[],
  progress: Progress | undefined,
): void {
  const fitted = new Set([...(model.calibratedOn ?? []), ...(manifest.plan?.texts ?? [])].map(({ sha256 }) => sha256));
  for (const { name, sha256 } of texts)
    if (fitted.has(sha256))
      progress?.note(`The model was fitted to ${name}: its figures are better there than on any other text.`);
}
