import { authorityAt, type Credential } from '#fleet/credential.ts'
import { isPassing } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import { isLockedOut } from './error-class.ts'
import type { CredentialsPort } from './spool-ports.ts'

export interface ActiveCredentialsParts {
  readonly files: Pick<CredentialsPort, 'read'>
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  readonly troubles: TroubleLog
  /** Speaks to the bridge with this credential and no other; throws what the bridge says. */
  prove(credential: Credential): Promise<void>
  onJoin(credential: Credential): void
  onChange(credential: Credential, former: Credential): void
  onLeave(session: SessionId): void
}

/** A credential that did not prove itself, and when it may try again. */
interface Trial {
  readonly credential: Credential
  readonly failures: number
  readonly notBefore: number
}

const UNANSWERED = { firstMs: 1_000, mostMs: 30_000 }
const REFUSED_AGAIN_MS = 60_000
/** One whose time is over by this host's clock is asked about now and then: the clock may be wrong. */
const EXPIRED_AGAIN_MS = 600_000

/** Which credentials are in force. One that takes another's place must have spoken to the bridge first. */
export class ActiveCredentials {
  readonly #parts: ActiveCredentialsParts
  readonly #inForce = new Map<SessionId, Credential>()
  readonly #trials = new Map<SessionId, Trial>()
  readonly #lockedOut = new Set<SessionId>()
  /** What is trusted at each address, as found when it was asked for last; empty again once a credential has changed. */
  readonly #authorities = new Map<string, string | undefined>()

  constructor(parts: ActiveCredentialsParts) {
    this.#parts = parts
  }

  get(session: SessionId): Credential | undefined {
    return this.#inForce.get(session)
  }

  /** The authority to trust at a bridge's address; undefined: those that this host trusts. */
  authorityAt(bridgeUrl: string): string | undefined {
    if (!this.#authorities.has(bridgeUrl)) {
      this.#authorities.set(bridgeUrl, authorityAt(bridgeUrl, this.#inForce.values()))
    }
    return this.#authorities.get(bridgeUrl)
  }

  /** The bridge does not let the session speak. Where its time is over as well, the next look lets it leave. */
  onLockedOut(session: SessionId): void {
    this.#lockedOut.add(session)
  }

  /** Brings what is in force in line with what lies in the folder. */
  async look(): Promise<void> {
    this.#letEndedLeave()
    const found = await this.#parts.files.read()
    this.#tellFaults(found.faults)
    if (!found.exists && this.#inForce.size > 0) {
      this.#parts.troubles.met('credentials', 'gone', 'the folder of credentials is gone; those at hand stay in force')
      return
    }
    const there = new Set([...found.doubtful, ...found.credentials.map(({ session }) => session)])
    for (const session of [...this.#inForce.keys()]) {
      if (!there.has(session)) this.#leave(session, 'its credential was removed')
    }
    // Those that need no asking first: a bridge that does not answer must not keep them waiting.
    const doubtful: Credential[] = []
    for (const credential of found.credentials) if (!this.#settle(credential)) doubtful.push(credential)
    await Promise.all(doubtful.map((credential) => this.#try(credential)))
    this.#tellWhetherAny(found.credentials.length + found.faults.length)
  }

  /** Answers false when the bridge must be asked first. */
  #settle(credential: Credential): boolean {
    const { clock, troubles, onJoin } = this.#parts
    const { session } = credential
    const held = this.#inForce.get(session)
    if (held === undefined) {
      if (credential.expiresAt <= clock.wall()) return false
      this.#take(credential)
      onJoin(credential)
      return true
    }
    if (isSameKey(held, { ...credential, createdAt: held.createdAt })) {
      this.#take({ ...credential, expiresAt: Math.max(credential.expiresAt, held.expiresAt) })
      return true
    }
    if (credential.createdAt >= held.createdAt) return false
    const why = `the file of ${session} went back to an older credential; the newer one stays in force`
    troubles.met(topicOf(session), `older:${credential.createdAt}`, why)
    return true
  }

  async #try(credential: Credential): Promise<void> {
    const { clock, prove, onJoin, onChange, log } = this.#parts
    const { session } = credential
    const trial = this.#trials.get(session)
    const isSame = trial !== undefined && isSameKey(trial.credential, credential)
    if (isSame && clock.now() < trial.notBefore) return
    try {
      await prove(credential)
    } catch (error) {
      this.#onUnproven(credential, error, isSame ? trial.failures : 0)
      return
    }
    const former = this.#inForce.get(session)
    this.#take(credential)
    if (former === undefined) return onJoin(credential)
    log.info('credential taken over', { session, bridge: credential.bridgeUrl })
    onChange(credential, former)
  }

  #onUnproven(credential: Credential, error: unknown, failures: number): void {
    const { troubles, chance, log } = this.#parts
    const { session } = credential
    const why = (error as Error).message
    if (!isLockedOut(error)) {
      const waitMs = isPassing(error) ? UNANSWERED.firstMs + backoff(failures, UNANSWERED, chance) : REFUSED_AGAIN_MS
      this.#delay(credential, waitMs, failures + 1)
      if (this.#inForce.has(session)) {
        troubles.met(
          topicOf(session),
          'unproven',
          `the new credential of ${session} could not be proven: ${why}`,
          error,
        )
      }
    } else if (this.#inForce.has(session)) {
      this.#delay(credential, REFUSED_AGAIN_MS, failures + 1)
      const what = `the bridge refuses the new credential of ${session}; the old one stays in force: ${why}`
      troubles.met(topicOf(session), `refused:${credential.createdAt}`, what, error)
    } else {
      this.#delay(credential, EXPIRED_AGAIN_MS, failures + 1)
      if (failures === 0) log.info('a credential has expired', { session, why })
    }
  }

  #take(credential: Credential): void {
    this.#inForce.set(credential.session, credential)
    this.#authorities.clear()
    this.#trials.delete(credential.session)
    this.#parts.troubles.over(topicOf(credential.session))
  }

  #letEndedLeave(): void {
    const now = this.#parts.clock.wall()
    for (const session of this.#lockedOut) {
      const credential = this.#inForce.get(session)
      if (credential === undefined || credential.expiresAt > now) continue
      this.#leave(session, 'its conversation has ended')
      this.#delay(credential, EXPIRED_AGAIN_MS, 1)
    }
    this.#lockedOut.clear()
  }

  #leave(session: SessionId, why: string): void {
    this.#inForce.delete(session)
    this.#authorities.clear()
    this.#trials.delete(session)
    this.#parts.troubles.over(topicOf(session))
    this.#parts.log.info('session left', { session, why })
    this.#parts.onLeave(session)
  }

  #delay(credential: Credential, waitMs: number, failures: number): void {
    this.#trials.set(credential.session, { credential, failures, notBefore: this.#parts.clock.now() + waitMs })
  }

  #tellFaults(faults: readonly string[]): void {
    const { troubles } = this.#parts
    if (faults.length === 0) troubles.over('credential files')
    else troubles.met('credential files', faults.join('\n'), faults.join('; '))
  }

  #tellWhetherAny(files: number): void {
    const { troubles } = this.#parts
    if (this.#inForce.size > 0) troubles.over('credentials')
    else if (files === 0) {
      const next = 'let cred-sync bring this worker’s, or publish one by `s2 conversation create`'
      troubles.met('credentials', 'none', `there are no credentials yet: ${next}`)
    } else {
      const next = 'have the orchestrator publish a new one'
      troubles.met('credentials', 'unfit', `none of the credentials here can be used: ${next}`)
    }
  }
}

function topicOf(session: SessionId): string {
  return `credential of ${session}`
}

function isSameKey(one: Credential, other: Credential): boolean {
  return (
    one.token === other.token &&
    one.bridgeUrl === other.bridgeUrl &&
    one.bridgeCa === other.bridgeCa &&
    one.createdAt === other.createdAt
  )
}
