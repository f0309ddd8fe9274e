/** Gemma 3n saved with its towers for images and sound. Its text model is a Gemma 3n of its own. */
import { gemma3n, gemma3nFamily } from './gemma3n.ts';
import { wrappedText } from './multimodal.ts';

export const gemma3nMultimodal = wrappedText({
  modelType: 'gemma3n',
  className: 'Gemma3nForConditionalGeneration',
  text: gemma3n,
  family: gemma3nFamily,
  others: /^(model\.)?(vision_tower|audio_tower|embed_vision|embed_audio)\./,
  othersAre: 'the towers for images and sound',
});
