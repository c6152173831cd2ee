import { readNamedFile } from '#runtime/read-user-file.ts'
import { parseObject } from '#spool/plain-file.ts'

/** The fields of a JSON file, or of JSON itself, that a user gave a client; none where it makes no sense. */
export async function readUserJson(pathOrJson: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return parseObject(pathOrJson.trimStart().startsWith('{') ? pathOrJson : await readNamedFile(pathOrJson))
  } catch {
    return {}
  }
}
