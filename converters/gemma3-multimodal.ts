/** Gemma 3 saved with its vision tower. Its text model is a Gemma 3 of its own. */
import { decoderArchitecture } from './decoder.ts';
import { gemma3Family } from './gemma3.ts';
import { wrappedText } from './multimodal.ts';

export const gemma3Multimodal = wrappedText({
  modelType: 'gemma3',
  className: 'Gemma3ForConditionalGeneration',
  // The class around the text model computes the logits, and never caps them.
  text: decoderArchitecture({
    ...gemma3Family,
    lacks: [...gemma3Family.lacks, 'final_logit_softcapping'],
    reads: gemma3Family.reads?.filter((field) => field !== 'final_logit_softcapping') ?? [],
  }),
  family: gemma3Family,
  others: /^(model\.)?(vision_tower|multi_modal_projector)\./,
  othersAre: 'the vision tower and its projector',
});
