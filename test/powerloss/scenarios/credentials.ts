/** What is in force on a host: credentials, its keys, and what a person has allowed for a while. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { publishOnce } from '#spool/atomic-files.ts'
import { noteRenewal, publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import { appendLine } from '#spool/line-log.ts'
import {
  endGrant,
  type Grant,
  guardFolder,
  liveGrant,
  openGrant,
  redeemCode,
} from '../../../services/cli/guard/grant.ts'
import { credential, OTHER, READER } from '../../core/spool/sample.ts'
import type { Scenario } from '../scenario.ts'

type CredentialWord =
  | { readonly token: string }
  | { readonly renewed: number }
  | { readonly identity: string }
  | { readonly removed: true }

interface FoundCredentials {
  /** Of the session that is kept. */
  readonly token: string | null
  readonly expiresAt: number
  readonly hasOther: boolean
  readonly identity: string | null
  readonly faults: readonly string[]
}

const IDENTITIES = ['one', 'two']
const RENEWED = 99_000

export const credentials: Scenario<FoundCredentials, CredentialWord> = {
  name: 'credentials',
  module: import.meta.url,
  async play(root, tell) {
    await publishCredential(root, credential({ token: 'a'.repeat(64) }))
    tell({ token: 'a' })
    await publishCredential(root, credential({ session: OTHER }))
    await noteRenewal(root, READER, RENEWED)
    tell({ renewed: RENEWED })
    await publishCredential(root, credential({ token: 'b'.repeat(64) }))
    tell({ token: 'b' })
    const publishes = IDENTITIES.map(async (each) => {
      if (await publishOnce(join(root, 'identity', 'key'), each)) tell({ identity: each })
    })
    await Promise.all(publishes)
    await removeCredential(root, OTHER)
    tell({ removed: true })
  },
  async look(root) {
    const { credentials: found, faults } = await readCredentials(root)
    const kept = found.find(({ session }) => session === READER)
    const identity = join(root, 'identity', 'key')
    return {
      token: kept?.token[0] ?? null,
      expiresAt: kept?.expiresAt ?? 0,
      hasOther: found.some(({ session }) => session === OTHER),
      identity: existsSync(identity) ? readFileSync(identity, 'utf8') : null,
      faults,
    }
  },
  judge({ token, expiresAt, hasOther, identity, faults }, told) {
    const sentences = told.flatMap((word) => {
      if ('token' in word && (token ?? '') < word.token)
        return [`credential ${word.token} was published, and ${token} is there`]
      if ('renewed' in word && expiresAt < word.renewed) return ['the renewal is lost']
      if ('identity' in word && identity !== word.identity)
        return [`key ${word.identity} was published, and ${identity} is there`]
      if ('removed' in word && hasOther) return ['the credential that was removed is in force again']
      return []
    })
    const half = identity === null || IDENTITIES.includes(identity) ? [] : [`the key is half: ${identity}`]
    return [...sentences, ...half, ...faults]
  },
}

type GuardWord = { readonly line: string } | { readonly ended: true } | { readonly guessed: true }

interface FoundGrant {
  readonly stage: Grant['stage'] | null
  readonly lines: readonly string[]
}

const NOW = 1_000_000

function journalIn(root: string): string {
  return join(guardFolder(root), 'journal')
}

export const guard: Scenario<FoundGrant, GuardWord> = {
  name: 'guard',
  module: import.meta.url,
  async play(root, tell) {
    const wanted = { mode: 'safe', folder: '/', tokenMs: 60_000 } as const
    const note = async (line: string): Promise<void> => {
      await appendLine(journalIn(root), line, 1_000)
      tell({ line })
    }
    const code = await openGrant(root, wanted, NOW)
    await note('asked')
    await redeemCode(root, code, NOW)
    await note('allowed')
    await endGrant(root)
    tell({ ended: true })
    await openGrant(root, wanted, NOW)
    await redeemCode(root, 'wrong', NOW).catch(() => tell({ guessed: true }))
  },
  async look(root) {
    const journal = journalIn(root)
    const lines = existsSync(journal) ? readFileSync(journal, 'utf8').split('\n') : []
    return { stage: (await liveGrant(root, NOW))?.stage ?? null, lines }
  },
  judge({ stage, lines }, told) {
    return told.flatMap((word) => {
      if ('line' in word && !lines.includes(word.line)) return [`the line ${word.line} of the journal is lost`]
      if ('ended' in word && stage === 'token') return ['what was ended is allowed again']
      if ('guessed' in word && stage !== null) return ['a code is good again after a wrong guess']
      return []
    })
  },
}
