import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readHead, type SignedHead } from '#fleet/audit-head.ts'
import { S2Error } from '#fleet/errors.ts'
import { identityFile, readIdentity } from '#identity/identity-file.ts'

/** Reads a file of heads, one a line: what the issuer wrote, a webhook took or git has. Throws `not_found`, `invalid`. */
export function readHeads(path: string): SignedHead[] {
  if (!existsSync(path)) {
    throw new S2Error('not_found', `there is no file of heads ${path}`, { next: 'name a file that a head was kept in' })
  }
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '')
  return lines.map((line, index) => {
    const head = readHead(line)
    if (head !== null) return head
    throw new S2Error('invalid', `line ${index + 1} of ${path} is not a head of an audit trail`, {
      next: 'name a file with one head a line, as audit-heads.jsonl of the state folder has them',
    })
  })
}

/** The heads that the issuer of this state folder wrote. */
export function ownHeads(state: string): SignedHead[] {
  const path = join(state, 'audit-heads.jsonl')
  return [`${path}.1`, path].filter((each) => existsSync(each)).flatMap(readHeads)
}

/** The key that the orchestrator of this state folder signs with; null where it has none. */
export async function ownKey(state: string): Promise<string | null> {
  return (await readIdentity(identityFile(state)))?.key ?? null
}
