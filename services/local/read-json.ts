import { existsSync, readFileSync } from 'node:fs'
import { ConfigError } from '#runtime/read-settings.ts'
import { decodeText } from '#runtime/read-user-file.ts'

/** Reads a JSON file that a person wrote; `what` it is begins each error. Throws ConfigError. */
export function readJson(path: string, what: string): unknown {
  const attempt = <T>(act: () => T, failure: string): T => {
    try {
      return act()
    } catch (error) {
      throw new ConfigError([`${what} ${path} ${failure}${(error as Error).message}`])
    }
  }
  if (!existsSync(path)) throw new ConfigError([`${what} ${path} is not there: name the one that you wrote`])
  const bytes = attempt(() => readFileSync(path), 'cannot be read: ')
  const text = attempt(() => decodeText(bytes), '')
  return attempt((): unknown => JSON.parse(text), 'is not JSON: ')
}
