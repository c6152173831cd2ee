import { join } from 'node:path'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { GitPublisher } from '#git/git-publisher.ts'
import { ensureIdentity, type HostIdentity } from '#identity/identity-file.ts'
import { sealCredential } from '#identity/sealed-credential.ts'
import { Issuer, type IssuerRound } from '#issuing/issuer.ts'
import { filesInState } from '#issuing/issuer-files.ts'
import { ScheduleWatch } from '#runtime/cron-schedule.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Life } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { keepAuditHeads } from './audit-heads.ts'
import type { Config, IssuerSettings } from './config.ts'
import {
  ALTERED,
  AWAY_MS,
  CredentialIncidents,
  foreignFiles,
  NO_FOREIGN_FILES,
  NO_PLAIN_CREDENTIALS,
  plainCredentials,
  REMOTE_AWAY,
  REMOTE_BACK,
  UNALTERED,
} from './credential-incidents.ts'
import { followHints } from './fetch-credential.ts'
import { RefusalIncidents } from './refusal-incidents.ts'
import { RefusedJoins } from './refused-joins.ts'

/** How often the registry of workers is compared with the credentials: a question to a program on this host. */
const ROUND_MS = 2_000
const ROUND_RETRY_MOST_MS = 30_000
/** How long the token before stays in force after a rotation, unless its host says earlier that it has the new one. */
const OVERLAP_MS = 600_000
const RETRY_FIRST_MS = 1_000

/** Issues the credentials of all workers until the program ends. */
export async function issueCredentials(config: Config, settings: IssuerSettings, life: Life): Promise<void> {
  const { clock, chance, log, stack } = life
  const store = stack.use(await openStore(settings.store, { clock, chance, log }))
  const identity = await ensureIdentity(config.state)
  const incidents = new CredentialIncidents(store, life)
  const parts = { ...life, store, identity, incidents }
  const heads = keepAuditHeads(config.state, settings.auditHeads, parts)
  stack.defer(() => heads.done)
  const issuer = await openIssuer(config, settings, parts)
  const loops = new IssuingLoops(issuer, config, settings, parts)
  life.stack.defer(() => loops.done)
  await followHints(config.state, () => loops.hurry(), life)
}

interface IssuingParts extends Life {
  readonly store: Store
  readonly identity: HostIdentity
  readonly incidents: CredentialIncidents
}

async function openIssuer(config: Config, settings: IssuerSettings, parts: IssuingParts): Promise<Issuer> {
  const { clock, chance, env, draining: signal, stack, store, identity } = parts
  const { state, remote, gitTimeoutMs: timeoutMs } = config
  const place = {
    remote: remote ?? '',
    branch: config.branch ?? 'main',
    timeoutMs,
    folder: join(state, 'publication.git'),
  }
  const publisher = remote === null ? null : stack.use(await GitPublisher.open(place, { clock, chance, env, signal }))
  const { lifetimeMs } = settings
  await settings.access() // wrong settings end the start
  return new Issuer(
    { orchestrator: ORCHESTRATOR, access: settings.access, lifetimeMs, overlapMs: OVERLAP_MS },
    { store, publisher, identity, files: filesInState(state), seal: sealCredential, clock },
  )
}

/** Two loops, so that a remote that hangs keeps no worker waiting that reaches the bridge: one for the store, one for git. */
class IssuingLoops {
  readonly #issuer: Issuer
  readonly #config: Config
  readonly #life: Life
  readonly #troubles: TroubleLog
  readonly #metrics: ReturnType<typeof countersOf>
  readonly #incidents: CredentialIncidents
  readonly #refusedJoins: RefusedJoins
  readonly #refusals: RefusalIncidents
  readonly #rounds: RetryLoop
  readonly #publishing: RetryLoop
  /** The branch is looked at once it is known what it shall hold. */
  readonly #begun = Promise.withResolvers<void>()
  readonly #rotations: ScheduleWatch

  constructor(issuer: Issuer, config: Config, settings: IssuerSettings, life: IssuingParts) {
    const { clock, log, health, draining, incidents, store } = life
    this.#issuer = issuer
    this.#config = config
    this.#life = life
    this.#troubles = new TroubleLog({ log, health })
    this.#metrics = countersOf(life)
    this.#refusedJoins = new RefusedJoins(life)
    this.#incidents = incidents
    this.#refusals = new RefusalIncidents({ store, incidents, clock }, config.pollMs)
    this.#rotations = new ScheduleWatch(settings.schedule, clock.wall())
    draining.addEventListener('abort', () => this.#begun.resolve(), { once: true })
    this.#publishing = this.#loop('remote', config.pollMs, () => this.#publish())
    this.#rounds = this.#loop('issuing', ROUND_RETRY_MOST_MS, () => this.#round())
  }

  get done(): Promise<void> {
    return Promise.all([this.#publishing.done, this.#rounds.done]).then(() => undefined)
  }

  /** The registry has changed. */
  hurry(): void {
    this.#rounds.retry()
  }

  #loop(topic: string, mostMs: number, step: () => Promise<number>): RetryLoop {
    const { clock, chance, draining: signal } = this.#life
    return new RetryLoop({
      clock,
      chance,
      signal,
      limits: { firstMs: RETRY_FIRST_MS, mostMs, leastMs: RETRY_FIRST_MS },
      step: async () => {
        const waitMs = await step()
        this.#troubles.over(topic)
        return waitMs
      },
      onTrouble: (error) => this.#met(topic, error),
      onWell: () => undefined,
    })
  }

  async #round(): Promise<number> {
    const { clock, round } = this.#life
    if (this.#rotations.isDue(clock.wall())) this.#issuer.rotateAll()
    if (await this.#refusals.note()) this.#publishing.nudge()
    this.#tell(await this.#issuer.round())
    this.#begun.resolve()
    if (this.#issuer.hasUnpublished) this.#publishing.nudge()
    round('issues credentials')
    return ROUND_MS
  }

  async #publish(): Promise<number> {
    await this.#begun.promise
    if (this.#life.draining.aborted) return this.#config.pollMs
    const { admitted, refused, foreign, plain, wasAltered } = await this.#issuer.publish()
    this.#tell({ issued: [], admitted, refused })
    if (admitted.length > 0) this.#rounds.nudge()
    await this.#incidents.toggle(foreignFiles(foreign), foreign.length > 0, NO_FOREIGN_FILES)
    await this.#incidents.toggle(plainCredentials(plain), plain.length > 0, NO_PLAIN_CREDENTIALS)
    await this.#incidents.toggle(ALTERED, wasAltered, UNALTERED)
    await this.#incidents.toggle(REMOTE_AWAY, false, REMOTE_BACK)
    return this.#config.pollMs
  }

  #tell({ issued, admitted, refused }: IssuerRound): void {
    const { log } = this.#life
    for (const agent of issued) {
      this.#metrics.issued.add()
      log.info('credential issued', { agent })
    }
    for (const agent of admitted) log.info('worker admitted', { agent })
    for (const why of refused) {
      this.#metrics.refused.add()
      this.#refusedJoins.note(why)
    }
  }

  #met(topic: string, error: unknown): void {
    const told = toldError(error)
    const { code, message, next } = told
    const why = `${code}: ${message}`
    this.#troubles.met(topic, why, next === undefined ? why : `${why}; ${next}`, isPassing(error) ? undefined : told)
    this.#life.round()
    if (topic === 'remote') void this.#incidents.persists(REMOTE_AWAY, AWAY_MS)
  }
}

/** An error as people are told of it. Files that settings name are read in each round, and may be spoiled meanwhile. */
function toldError(error: unknown): S2Error {
  if (error instanceof S2Error) return error
  if (!(error instanceof ConfigError))
    return new S2Error('internal', 'credentials could not be issued', { cause: error })
  return new S2Error('invalid', error.faults.join('; '), {
    next: 'let s2-cred-sync read what the setting names, which it tries again by itself, or correct the setting and restart it',
    cause: error,
  })
}

function countersOf({ health: { metrics } }: Life) {
  return {
    issued: metrics.counter('s2_cred_sync_issued_total', 'Credentials that were made for workers.'),
    refused: metrics.counter('s2_cred_sync_join_refused_total', 'Requests to join that were refused.'),
  }
}
