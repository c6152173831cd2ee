import { join } from 'node:path'
import { isPassing, S2Error } from '#fleet/errors.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { GitPublisher } from '#git/git-publisher.ts'
import { ensureIdentity } from '#identity/identity-file.ts'
import { Issuer, type IssuerRound } from '#issuing/issuer.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Life } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { openStore } from '#store/open-store.ts'
import type { Config, IssuerSettings } from './config.ts'
import { followHints } from './fetch-credential.ts'

/** How often the registry of workers is compared with the credentials: a question to a program on this host. */
const ROUND_MS = 2_000
/** How long the token before stays in force after a rotation, unless its host says earlier that it has the new one. */
const OVERLAP_MS = 600_000
const RETRY_FIRST_MS = 1_000

/** Issues the credentials of all workers until the program ends. */
export async function issueCredentials(config: Config, settings: IssuerSettings, life: Life): Promise<void> {
  const { clock, chance, draining: signal, stack, health, log } = life
  const troubles = new TroubleLog({ log, health })
  const issuer = await openIssuer(config, settings, life)
  const metrics = countersOf(life)
  const tell = (round: IssuerRound): void => tellRound(round, metrics, life)
  let scheduled = settings.schedule.next(clock.wall())
  // The branch is looked at once it is known what it shall hold.
  const begun = Promise.withResolvers<void>()
  signal.addEventListener('abort', () => begun.resolve(), { once: true })
  const publishing = new RetryLoop({
    clock,
    chance,
    signal,
    limits: { firstMs: RETRY_FIRST_MS, mostMs: config.pollMs, leastMs: RETRY_FIRST_MS },
    step: async () => {
      await begun.promise
      if (signal.aborted) return config.pollMs
      const { round, foreign } = await issuer.publish()
      tell(round)
      troubles.over('remote')
      reportForeign(foreign, troubles)
      return config.pollMs
    },
    onTrouble: (error) => met('remote', error, troubles),
    onWell: () => undefined,
  })
  const rounds = new RetryLoop({
    clock,
    chance,
    signal,
    limits: { firstMs: RETRY_FIRST_MS, mostMs: 30_000, leastMs: RETRY_FIRST_MS },
    step: async () => {
      if (clock.wall() >= scheduled) {
        issuer.rotateAll()
        scheduled = settings.schedule.next(clock.wall())
      }
      const round = await issuer.round()
      begun.resolve()
      tell(round)
      troubles.over('issuing')
      if (round.issued.length > 0 || issuer.hasUnpublished) publishing.nudge()
      life.round('issues credentials')
      return ROUND_MS
    },
    onTrouble: (error) => {
      met('issuing', error, troubles)
      life.round()
    },
    onWell: () => undefined,
  })
  stack.defer(async () => void (await Promise.all([publishing.done, rounds.done])))
  await followHints(config.state, () => rounds.retry(), life)
}

async function openIssuer(config: Config, settings: IssuerSettings, life: Life): Promise<Issuer> {
  const { clock, chance, env, log, draining: signal, stack } = life
  const store = stack.use(await openStore(settings.store, { clock, chance, log }))
  const folder = join(config.state, 'publication.git')
  const { remote, branch, gitTimeoutMs: timeoutMs } = config
  const publisher =
    remote === null
      ? null
      : stack.use(
          await GitPublisher.open(
            { remote, branch: branch ?? 'main', timeoutMs, folder },
            { clock, chance, env, signal },
          ),
        )
  const access = await settings.access()
  const identity = await ensureIdentity(config.state)
  const issuerConfig = {
    state: config.state,
    orchestrator: ORCHESTRATOR,
    access,
    lifetimeMs: settings.lifetimeMs,
    overlapMs: OVERLAP_MS,
  }
  return new Issuer(issuerConfig, { store, publisher, identity, clock })
}

function tellRound(
  { issued, admitted, refused }: IssuerRound,
  metrics: ReturnType<typeof countersOf>,
  { log }: Life,
): void {
  for (const agent of issued) {
    metrics.issued.add()
    log.info('credential issued', { agent })
  }
  for (const agent of admitted) log.info('worker admitted', { agent })
  for (const why of refused) {
    metrics.refused.add()
    log.warn('join request refused', { why })
  }
}

function reportForeign(foreign: readonly string[], troubles: TroubleLog): void {
  if (foreign.length === 0) {
    troubles.over('foreign files')
    return
  }
  const names = foreign.slice(0, 5).map((name) => JSON.stringify(name.slice(0, 100)))
  const what = `the branch of credentials holds ${foreign.length} files that S2 did not publish: ${names.join(', ')}`
  troubles.met('foreign files', names.join(), `${what}; see who writes there, and remove them`)
}

function met(topic: string, error: unknown, troubles: TroubleLog): void {
  const known =
    error instanceof S2Error ? error : new S2Error('internal', 'credentials could not be issued', { cause: error })
  const next = known.next === undefined ? '' : `; ${known.next}`
  troubles.met(
    topic,
    `${known.code}: ${known.message}`,
    `${known.code}: ${known.message}${next}`,
    isPassing(error) ? undefined : error,
  )
}

function countersOf({ health: { metrics } }: Life) {
  return {
    issued: metrics.counter('s2_cred_sync_issued_total', 'Credentials that were made for workers.'),
    refused: metrics.counter('s2_cred_sync_join_refused_total', 'Requests to join that were refused.'),
  }
}
