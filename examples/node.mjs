// Streams a text in Node: node examples/node.mjs DIR "Once upon a time"
import { open } from 'lacuna';

const [folder, prompt] = process.argv.slice(2);
const model = await open(folder);
for await (const piece of model.stream(prompt, { maxTokens: 24 })) process.stdout.write(piece);
process.stdout.write('\n');
await model.close();
