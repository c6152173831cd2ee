import { readNamedFile } from '#runtime/read-user-file.ts'

/** The fields of a JSON file, or of JSON itself, that a user gave a client; none where it makes no sense. */
export async function readUserJson(pathOrJson: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const value: unknown = JSON.parse(
      pathOrJson.trimStart().startsWith('{') ? pathOrJson : await readNamedFile(pathOrJson),
    )
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
