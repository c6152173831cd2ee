import { isPassing, S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { Loop } from '#runtime/loop.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { hintsFolder } from '#spool/credential-hint.ts'
import { publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import { type Config, readConfig } from './config.ts'
import { GitMirror } from './git-mirror.ts'
import { HintLimiter } from './hint-limiter.ts'
import { type CredentialPlace, CredentialSync } from './sync-credential.ts'

/** Brings this worker's credential from git to its place, and keeps the last good one whatever the remote does. */
export const program: Program<Config> = {
  name: 'cred-sync',
  about: "Fetches this worker's credentials from the git remote and puts them where the other programs read them.",
  redact,
  readConfig,
  roundMs,
  start,
}

/** The first repeat after a failure, and with what the doubling ends: the poll itself. */
const RETRY_FIRST_MS = 1_000

/** What is not there yet is looked for this often: no hint reaches a host that has no credential to be reached by. */
const ABSENT_MS = 10_000

/** How many git commands a look may take, each as long as it may take. */
const COMMANDS_MAX = 8

/** A look comes once in a poll, at the latest, and may find a remote that hangs. */
function roundMs({ pollMs, gitTimeoutMs }: Config): number {
  return 2 * pollMs + COMMANDS_MAX * gitTimeoutMs
}

/** Up to a tenth sooner, so that a fleet that was started together does not ask together for ever. */
function soonerAtTimes(ms: number, chance: Chance): number {
  return ms * (0.9 + 0.1 * chance())
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  const { clock, chance, log, health, draining, stack } = life
  const mirror = new GitMirror(
    { folder: config.mirror, remote: config.remote, branch: config.branch, timeoutMs: config.gitTimeoutMs },
    { clock, env: life.env, signal: draining },
  )
  const sync = new CredentialSync(config.worker, { mirror, shelf: shelf(config.state), clock })
  const looks = health.metrics.counter('s2_cred_sync_looks_total', 'Looks at the remote that succeeded.')
  const failures = health.metrics.counter('s2_cred_sync_failures_total', 'Looks at the remote that failed.')
  const published = health.metrics.counter('s2_cred_sync_published_total', 'Credentials published.')
  let lastGood = clock.now()
  health.metrics.gauge(
    's2_cred_sync_age_seconds',
    'Time since the last good look.',
    () => (clock.now() - lastGood) / 1000,
  )

  let failed = 0
  let told = ''
  const step = async (): Promise<number> => {
    const outcome = await sync.look()
    looks.add()
    failed = 0
    lastGood = clock.now()
    if (told !== '') log.info('credentials are well again')
    told = ''
    health.trouble('remote', null)
    if (outcome.kind === 'published') {
      published.add()
      const { session, agent, expiresAt } = outcome.credential
      log.info('credential published', {
        session,
        agent,
        expiresAt: new Date(expiresAt).toISOString(),
        commit: outcome.commit,
      })
    }
    life.round(`worker ${config.worker}, last looked ${new Date(clock.wall()).toISOString()}`)
    return soonerAtTimes(config.pollMs, chance)
  }
  const onError = (error: unknown): number => {
    failures.add()
    const known = error instanceof S2Error ? error : new S2Error('internal', 'looking failed', { cause: error })
    const line = `${known.code}: ${known.message}`
    health.trouble('remote', `${line}; for ${formatDuration(Math.round((clock.now() - lastGood) / 1000) * 1000)}`)
    if (line !== told)
      log.warn('the credential at hand stays in force', {
        code: known.code,
        why: known.message,
        next: known.next,
        cause: known.cause,
      })
    told = line
    const waitMs = isPassing(known)
      ? RETRY_FIRST_MS + backoff(failed, { firstMs: RETRY_FIRST_MS, mostMs: config.pollMs }, chance)
      : soonerAtTimes(known.code === 'not_found' ? ABSENT_MS : config.pollMs, chance)
    failed += 1
    life.round()
    return Math.min(waitMs, Math.max(config.pollMs, RETRY_FIRST_MS))
  }
  const loop = new Loop({ clock, signal: draining, step, onError })
  stack.defer(() => loop.done)
  const limiter = new HintLimiter({ clock, chance, signal: draining, hurry: () => loop.nudge() })
  await hear(config.state, limiter, life)
}

/** Listens for hints until the program ends. What was left before now needs no hearing: the first look is under way. */
async function hear(state: string, limiter: HintLimiter, { clock, log, stack }: Life): Promise<void> {
  const folder = hintsFolder(state)
  await ensureFolder(folder).catch(() => undefined) // without it the polls do, and it is watched when it is there
  const heard = (): void => limiter.hint()
  stack.use(watchFolder(folder, { onEvents: heard, onDoubt: heard }, { clock, log }))
}

/** The credentials folder of a state folder. */
function shelf(state: string): CredentialPlace {
  return {
    read: async () => (await readCredentials(state)).credentials,
    publish: (credential) => publishCredential(state, credential),
    remove: ({ session }) => removeCredential(state, session),
  }
}
