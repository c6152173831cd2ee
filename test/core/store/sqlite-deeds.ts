/** What others do to the files of a database while a program has it open. */
import { copyFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import Database from 'better-sqlite3'

export const DEEDS = {
  removed: (path: string) => rmSync(path),
  replaced: (path: string) => renameSync(copyOf(path), path),
  'written over': (path: string) => copyFileSync(copyOf(path), path),
  'robbed of its log': (path: string) => removeLog(path),
} as const

export function removeLog(path: string): void {
  for (const suffix of ['-wal', '-shm']) rmSync(path + suffix)
}

/** Which of these lie beside a database: its log, and copies that were kept of it. */
export function leftBeside(path: string): { readonly log: boolean; readonly copies: number } {
  const names = readdirSync(dirname(path))
  const held = names.filter((name) => name.startsWith(`${basename(path)}.held-`))
  return { log: names.includes(`${basename(path)}-wal`), copies: held.length }
}

function copyOf(path: string): string {
  const database = new Database(path)
  database.exec(`VACUUM INTO '${path}.other'`)
  database.close()
  return `${path}.other`
}
