import { redact } from '#fleet/redact.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { type Config, readConfig } from './config.ts'
import { fetchCredential } from './fetch-credential.ts'
import { issueCredentials } from './issue-credentials.ts'

/**
 * On a worker's host: fetches its credential from the git remote or the bridge, and keeps the last good one whatever they do. On
 * the orchestrator's host (S2_ISSUER): issues the credentials of all workers.
 */
export const program: Program<Config> = {
  name: 'cred-sync',
  about:
    'Brings credentials to workers: issues them on the orchestrator’s host (S2_ISSUER), fetches one on a worker’s.',
  redact,
  readConfig,
  roundMs,
  start,
}

/** How many git commands one look may run, each of them up to its own time limit. */
const COMMANDS_MAX = 8

/** The longest time between the ends of two looks: there is one in each poll, and its remote may hang. */
function roundMs({ pollMs, gitTimeoutMs }: Config): number {
  return 2 * pollMs + COMMANDS_MAX * gitTimeoutMs
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  if (config.issuer === null) await fetchCredential(config, life)
  else await issueCredentials(config, config.issuer, life)
}
