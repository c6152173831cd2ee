import {
  durationBetween,
  gitBranchName,
  gitRemoteAddress,
  integerBetween,
  matching,
  path,
  yesNo,
} from './setting-parsers.ts'

/** The settings of keys and credentials. */
export const IDENTITY_SETTINGS = {
  S2_GIT_REMOTE: {
    about: 'Git remote that credentials go through. A worker that has joined knows it from its invitation.',
    programs: ['cred-sync', 's2'],
    example: 'ssh://git@git.example.org/fleet-credentials.git',
    parse: gitRemoteAddress,
  },
  S2_GIT_BRANCH: {
    about: 'Branch that they are on.',
    programs: ['cred-sync', 's2'],
    fallback: 'main',
    example: 's2-credentials',
    parse: gitBranchName,
  },
  S2_GIT_POLL: {
    about: 'How often the remote is asked. Each wait is up to a tenth shorter, by chance: hosts do not ask together.',
    programs: ['cred-sync'],
    fallback: '60s',
    example: '20s',
    parse: durationBetween(100, 86_400_000),
  },
  S2_GIT_TIMEOUT: {
    about: 'How long one git command may take before it is ended with its children.',
    programs: ['cred-sync', 'local', 's2'],
    fallback: '30s',
    example: '60s',
    parse: durationBetween(500, 600_000),
  },
  S2_WORKER: {
    about:
      'Number of this worker, where plain credential files are read (S2_ALLOW_PLAINTEXT_CREDENTIALS). Never guessed from a host name.',
    programs: ['cred-sync'],
    example: '3',
    parse: integerBetween(0, 1_000_000),
  },
  S2_ALLOW_PLAINTEXT_CREDENTIALS: {
    about: 'Whether plain credential files of the older scripts are read. Whoever reads the remote can use them.',
    programs: ['cred-sync'],
    fallback: 'no',
    example: 'yes',
    parse: yesNo,
  },
  S2_IDENTITY: {
    about: 'File with the keys of this host. Left out: `keys/identity.json` in the state folder.',
    programs: ['cred-sync', 's2'],
    example: '/run/secrets/s2-identity',
    parse: path,
  },
  S2_ISSUER: {
    about:
      'Whether cred-sync issues the credentials of all workers, on the orchestrator’s host, instead of fetching one.',
    programs: ['cred-sync', 's2'],
    fallback: 'no',
    example: 'yes',
    parse: yesNo,
  },
  S2_ROTATE: {
    about: 'When the tokens of all workers are made anew, as a cron line, beside at half of their life (S2_LIFETIME).',
    programs: ['cred-sync'],
    fallback: '47 3 * * *',
    example: '0 */6 * * *',
    parse: matching(/^\S+( \S+){4,5}$/, 'must be a cron line of five or six fields'),
  },
} as const
