import { isPassing, S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import type { Chance } from '#runtime/clock.ts'
import { watchFolder } from '#runtime/folder-watch.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import { RetryLoop } from '#runtime/retry-loop.ts'
import type { Life, Program } from '#runtime/run.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { hintsFolder } from '#spool/credential-hint.ts'
import { publishCredential, readCredentials, removeCredential } from '#spool/credentials.ts'
import { type Config, readConfig } from './config.ts'
import { GitMirror } from './git-mirror.ts'
import { HintLimiter } from './hint-limiter.ts'
import { type CredentialFolder, CredentialSync } from './sync-credential.ts'
import { SyncReport } from './sync-report.ts'

/** Publishes this worker's credential from git on this host, and keeps the last good one whatever the remote does. */
export const program: Program<Config> = {
  name: 'cred-sync',
  about: "Fetches this worker's credentials from the git remote and puts them where the other programs read them.",
  redact,
  readConfig,
  roundMs,
  start,
}

/** The shortest wait after a failure that may pass by itself; it doubles up to the poll's length. */
const RETRY_FIRST_MS = 1_000

/** How often a credential is looked for that is not there yet: no hint reaches a host without a credential. */
const ABSENT_MS = 10_000

/** How many git commands one look may run, each of them up to its own time limit. */
const COMMANDS_MAX = 8

/** The longest time between the ends of two looks: there is one in each poll, and its remote may hang. */
function roundMs({ pollMs, gitTimeoutMs }: Config): number {
  return 2 * pollMs + COMMANDS_MAX * gitTimeoutMs
}

/** Up to a tenth less, so that hosts that were started together do not ask together for ever. */
function jittered(ms: number, chance: Chance): number {
  return ms * (0.9 + 0.1 * chance())
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  const { clock, chance, draining, stack } = life
  const mirror = new GitMirror(
    { folder: config.mirror, remote: config.remote, branch: config.branch, timeoutMs: config.gitTimeoutMs },
    { clock, env: life.env, signal: draining },
  )
  const sync = new CredentialSync(config.worker, { mirror, credentials: credentialsOf(config.state), clock })
  const report = new SyncReport(life)
  const loop = new RetryLoop({
    clock,
    chance,
    signal: draining,
    limits: { firstMs: RETRY_FIRST_MS, mostMs: config.pollMs, leastMs: RETRY_FIRST_MS },
    step: () => look(sync, report, config, life),
    onTrouble: (error) => {
      report.failed(error)
      life.round()
    },
    onWell: () => undefined,
  })
  stack.defer(() => loop.done)
  const limiter = new HintLimiter({ clock, chance, signal: draining, hurry: () => loop.retry() })
  await followHints(config.state, limiter, life)
}

/** Looks at the remote once; answers milliseconds until the next look. Throws only what may pass by itself. */
async function look(
  sync: CredentialSync,
  report: SyncReport,
  { worker, pollMs }: Config,
  { clock, chance, round }: Life,
): Promise<number> {
  try {
    report.succeeded(await sync.look())
    round(`worker ${worker}, last looked ${new Date(clock.wall()).toISOString()}`)
    return jittered(pollMs, chance)
  } catch (error) {
    if (isPassing(error)) throw error
    report.failed(error)
    round()
    const isAbsent = error instanceof S2Error && error.code === 'not_found'
    return jittered(isAbsent ? Math.min(ABSENT_MS, pollMs) : pollMs, chance)
  }
}

/** Follows hints until the program ends. Hints from before the start need no follow-up: the first look is under way. */
async function followHints(state: string, limiter: HintLimiter, { clock, log, stack }: Life): Promise<void> {
  const folder = hintsFolder(state)
  // Where the folder cannot be made the polls suffice, and it is watched as soon as it exists.
  await ensureFolder(folder).catch(() => undefined)
  const onHint = (): void => limiter.hint()
  stack.use(watchFolder(folder, { onEvents: onHint, onDoubt: onHint }, { clock, log }))
}

function credentialsOf(state: string): CredentialFolder {
  return {
    read: async () => (await readCredentials(state)).credentials,
    publish: (credential) => publishCredential(state, credential),
    remove: ({ session }) => removeCredential(state, session),
  }
}
