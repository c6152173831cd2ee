import { authorityAt, type Credential, isSameCredential, pinAt } from '#fleet/credential.ts'
import { isPassing } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import { isLockedOut } from './error-class.ts'
import type { CredentialsPort } from './spool-interfaces.ts'

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

/** A credential that the bridge has not accepted, and when it is tried again. */
interface Trial {
  readonly credential: Credential
  readonly pauses: Pauses
  notBefore: number
}

const UNANSWERED = { firstMs: 1_000, mostMs: 30_000, leastMs: 1_000 }
const REFUSED_AGAIN_MS = 60_000
/** A credential that has expired by this host's clock is tried again at long intervals: the clock may be wrong. */
const EXPIRED_AGAIN_MS = 600_000

/** Which credentials are in force. A new one replaces the old one only after the bridge has accepted it. */
export class ActiveCredentials {
  readonly #parts: ActiveCredentialsParts
  readonly #inForce = new Map<SessionId, Credential>()
  readonly #trials = new Map<SessionId, Trial>()
  readonly #lockedOut = new Set<SessionId>()
  /** The authority to trust at each address, kept until a credential changes. */
  readonly #authorities = new Map<string, string | undefined>()

  constructor(parts: ActiveCredentialsParts) {
    this.#parts = parts
  }

  get(session: SessionId): Credential | undefined {
    return this.#inForce.get(session)
  }

  /** The authority to trust at a bridge's address; undefined: the authorities that this host trusts. */
  authorityAt(bridgeUrl: string): string | undefined {
    if (!this.#authorities.has(bridgeUrl)) {
      this.#authorities.set(bridgeUrl, authorityAt(bridgeUrl, this.#inForce.values()))
    }
    return this.#authorities.get(bridgeUrl)
  }

  /** The key that the bridge's certificate must have at an address; undefined: any. */
  pinAt(bridgeUrl: string): string | undefined {
    return pinAt(bridgeUrl, this.#inForce.values())
  }

  /** The bridge does not let the session speak. If its credential has expired as well, the next look removes it. */
  onLockedOut(session: SessionId): void {
    this.#lockedOut.add(session)
  }

  /** Brings the credentials in force in line with the files of the folder. */
  async look(): Promise<void> {
    this.#removeEnded()
    const found = await this.#parts.files.read()
    this.#reportFaults(found.faults)
    if (!found.exists && this.#inForce.size > 0) {
      this.#parts.troubles.met(
        'credentials',
        'gone',
        'the folder of credentials is gone; the credentials in force stay',
      )
      return
    }
    const there = new Set([...found.doubtful, ...found.credentials.map(({ session }) => session)])
    for (const session of [...this.#inForce.keys()]) {
      if (!there.has(session)) this.#leave(session, 'its credential was removed')
    }
    // Credentials that need no proof come first: a bridge that does not answer must not delay them.
    const unproven: Credential[] = []
    for (const credential of found.credentials) if (!this.#takeUndoubted(credential)) unproven.push(credential)
    await Promise.all(unproven.map((credential) => this.#try(credential)))
    this.#reportWhetherAny(found.credentials.length + found.faults.length)
  }

  /** Takes a credential that needs no proof; answers false when the bridge must be asked first. */
  #takeUndoubted(credential: Credential): boolean {
    const { clock, troubles, onJoin } = this.#parts
    const { session } = credential
    const held = this.#inForce.get(session)
    if (held === undefined) {
      if (credential.expiresAt <= clock.wall()) return false
      this.#take(credential)
      onJoin(credential)
      return true
    }
    if (isSameCredential(held, { ...credential, createdAt: held.createdAt })) {
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
    const trial = this.#trialOf(credential)
    if (clock.now() < trial.notBefore) return
    try {
      await prove(credential)
    } catch (error) {
      this.#onUnproven(trial, error)
      return
    }
    const former = this.#inForce.get(session)
    this.#take(credential)
    if (former === undefined) return onJoin(credential)
    log.info('credential taken over', { session, bridge: credential.bridgeUrl })
    onChange(credential, former)
  }

  #onUnproven(trial: Trial, error: unknown): void {
    const { clock, log } = this.#parts
    const { session } = trial.credential
    const isFirst = trial.pauses.failures === 0
    const isExpired = isLockedOut(error) && !this.#inForce.has(session)
    const pauseMs = trial.pauses.failed()
    const refusedMs = isExpired ? EXPIRED_AGAIN_MS : REFUSED_AGAIN_MS
    trial.notBefore = clock.now() + (isPassing(error) ? pauseMs : refusedMs)
    this.#trials.set(session, trial)
    if (this.#inForce.has(session)) this.#reportUnproven(trial.credential, error)
    else if (isExpired && isFirst) log.info('credential expired', { session, why: (error as Error).message })
  }

  #reportUnproven({ session, createdAt }: Credential, error: unknown): void {
    const { troubles } = this.#parts
    const why = (error as Error).message
    if (isLockedOut(error)) {
      const what = `the bridge refuses the new credential of ${session}; the old one stays in force: ${why}`
      troubles.met(topicOf(session), `refused:${createdAt}`, what, error)
    } else {
      troubles.met(topicOf(session), 'unproven', `the new credential of ${session} cannot be proven: ${why}`, error)
    }
  }

  /** The trial of a credential; another credential of the session starts a trial of its own. */
  #trialOf(credential: Credential): Trial {
    const { clock, chance } = this.#parts
    const trial = this.#trials.get(credential.session)
    if (trial !== undefined && isSameCredential(trial.credential, credential)) return trial
    return { credential, pauses: new Pauses(UNANSWERED, chance), notBefore: clock.now() }
  }

  #take(credential: Credential): void {
    this.#inForce.set(credential.session, credential)
    this.#authorities.clear()
    this.#trials.delete(credential.session)
    this.#parts.troubles.over(topicOf(credential.session))
  }

  #removeEnded(): void {
    const now = this.#parts.clock.wall()
    for (const session of this.#lockedOut) {
      const credential = this.#inForce.get(session)
      if (credential === undefined || credential.expiresAt > now) continue
      this.#leave(session, 'its conversation has ended')
      const trial = this.#trialOf(credential)
      trial.pauses.failed()
      trial.notBefore = this.#parts.clock.now() + EXPIRED_AGAIN_MS
      this.#trials.set(session, trial)
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

  #reportFaults(faults: readonly string[]): void {
    const { troubles } = this.#parts
    if (faults.length === 0) troubles.over('credential files')
    else troubles.met('credential files', faults.join('\n'), faults.join('; '))
  }

  #reportWhetherAny(files: number): void {
    const { troubles } = this.#parts
    if (this.#inForce.size > 0) troubles.over('credentials')
    else if (files === 0) {
      const next =
        'a worker’s comes by cred-sync once its host has joined (s2 worker join), an orchestrator’s once a worker has'
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
