import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A sentence for each file of a folder that is to hold JSON and does not: its readers would pass it over, and what it said is lost. */
export function brokenJson(folder: string): string[] {
  if (!existsSync(folder)) return []
  const names = readdirSync(folder).filter((name) => name.endsWith('.json') && !name.startsWith('.'))
  return names.filter((name) => !isJson(join(folder, name))).map((name) => `${name} is half`)
}

function isJson(path: string): boolean {
  try {
    JSON.parse(readFileSync(path, 'utf8'))
    return true
  } catch {
    return false
  }
}
