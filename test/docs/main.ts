/** Writes the generated parts of the documents anew. `test/docs.test.ts` checks that they are as the code has them. */
import { readFileSync, writeFileSync } from 'node:fs'
import { generatedParts, withPart } from './generated.ts'

for (const part of await generatedParts()) {
  const before = readFileSync(part.file, 'utf8')
  const after = withPart(before, part)
  if (after === before) continue
  writeFileSync(part.file, after)
  console.log(`${part.file}: ${part.name} written anew`)
}
