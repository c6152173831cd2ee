import { join } from 'node:path'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFile } from '#spool/plain-file.ts'

/** Which way to the bridge the credentials name that were made last, as a fingerprint; null: none were made here. */
export async function readIssuedAccess(state: string): Promise<string | null> {
  const file = await readPlainFile(fileIn(state), 100).catch(() => null)
  return file?.text.trim() ?? null
}

export async function writeIssuedAccess(state: string, fingerprint: string): Promise<void> {
  await publish(fileIn(state), `${fingerprint}\n`)
}

function fileIn(state: string): string {
  return join(state, 'issued-access')
}
