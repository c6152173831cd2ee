import type { Credential } from '#fleet/credential.ts'
import { parseCredentialFile } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { conversationOf } from '#fleet/session-id.ts'
import type { HostIdentity } from '#identity/identity-file.ts'
import { checkSerial } from '#identity/sealed-credential.ts'
import { Issuer } from '#issuing/issuer.ts'
import type { IssuerFiles } from '#issuing/issuer-files.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Store } from '#store/store.ts'
import type { CredentialSource } from '../../services/cred-sync/credential-source.ts'
import type { Life } from './clock.ts'
import { openNear, type Surroundings } from './network.ts'
import { DAY, LIFETIME_MS } from './settings.ts'
import type { Spool } from './spool.ts'

const BRIDGE_URL = 'https://bridge'
/** How long the token before stays in force after a rotation, unless its host says earlier that it has the new one. */
const OVERLAP_MS = 600_000
const RETRY = { firstMs: 1_000, mostMs: 30_000, leastMs: 1_000 }

/** Keys that nobody signs or seals with. */
export function keysOf(agent: string, orchestrator = agent): HostIdentity {
  const publicHalf = (of: string) => ({ key: of.padStart(43, '_'), recipient: `age1${'q'.repeat(58)}` })
  return {
    ...publicHalf(agent),
    signingKey: '',
    ageKey: '',
    membership: { agent, orchestrator: publicHalf(orchestrator), bridgeUrl: BRIDGE_URL, remote: null, branch: 'main' },
  }
}

export interface IssuerProgramParts {
  readonly around: Surroundings
  readonly store: Store
  /** The spool of the orchestrator's host. */
  readonly spool: Spool
  readonly everyMs: number
  /** When credentials are made anew on schedule: once a day from this moment of the world on. */
  readonly rotatesAtMs: number
}

/** The program that issues credentials on the orchestrator's host, through all its lives. */
export class IssuerProgram {
  readonly #parts: IssuerProgramParts
  #life: Life | null = null
  #issuer: Issuer | null = null
  #access: string | null = null

  constructor(parts: IssuerProgramParts) {
    this.#parts = parts
  }

  get isRunning(): boolean {
    return this.#life !== null
  }

  kill(): void {
    this.#life?.kill()
    this.#life = null
    this.#issuer = null
  }

  start(life: Life): void {
    const { around, store, everyMs, rotatesAtMs } = this.#parts
    const { clock, unending } = life
    const issuer = new Issuer(
      {
        orchestrator: 'orchestrator',
        access: async () => ({ bridgeUrl: BRIDGE_URL }),
        lifetimeMs: LIFETIME_MS,
        overlapMs: OVERLAP_MS,
      },
      {
        store: openNear(store, life, around),
        publisher: null,
        identity: keysOf('orchestrator'),
        files: this.#filesFor(life),
        seal: async (credential) => formatCredential(credential),
        clock,
      },
    )
    this.#life = life
    this.#issuer = issuer
    const schedule = dailyFrom(life.machine.epoch + rotatesAtMs)
    let rotatesAt = schedule(clock.wall())
    new RetryLoop({
      clock,
      chance: around.dice.next,
      signal: unending,
      limits: RETRY,
      step: async () => {
        if (clock.wall() >= rotatesAt) {
          issuer.rotateAll()
          rotatesAt = schedule(clock.wall())
        }
        await issuer.round()
        return everyMs
      },
      onTrouble: () => undefined,
      onWell: () => undefined,
    })
  }

  /** A person wants all credentials to be made anew. */
  rotateAll(): void {
    this.#issuer?.rotateAll()
  }

  #filesFor(life: Life): IssuerFiles {
    const folder = this.#parts.spool.credentialFolder(life)
    return {
      ownEnds: folder.read,
      publishOwnEnd: folder.publish,
      removeOwnEnd: (session) => folder.remove({ session }),
      readAccess: async () => this.#access,
      writeAccess: async (fingerprint) => {
        this.#access = fingerprint
      },
    }
  }
}

/** When a daily schedule is due next, by the wall clock. */
function dailyFrom(first: number): (wall: number) => number {
  return (wall) => first + Math.max(0, Math.floor((wall - first) / DAY) + 1) * DAY
}

/** The text that is sealed for a worker's host; in a world it lies open. */
function formatCredential({ session, token, agent, role, bridgeUrl, createdAt, expiresAt }: Credential): string {
  return JSON.stringify({
    conversation_id: conversationOf(session),
    worker_id: agent,
    worker_role: role,
    worker_token: token,
    created_at: new Date(createdAt).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
    bridge_url: bridgeUrl,
  })
}

/** The credential that the bridge keeps for a host, by the rules that sealed ones are opened by. */
export function sourceAtBridge(store: Pick<Store, 'publishedCredential'>, life: Life): CredentialSource {
  return {
    find: async ({ identity: { key, membership }, heldSerial }) => {
      const file = await store.publishedCredential(key)
      if (file === null) throw new S2Error('not_found', 'the bridge has no credential for the key of this host')
      const wall = life.clock.wall()
      const credential = parseCredentialFile(Buffer.from(file), membership?.agent ?? '', wall)
      checkSerial(credential.createdAt, heldSerial, wall)
      return credential
    },
  }
}
