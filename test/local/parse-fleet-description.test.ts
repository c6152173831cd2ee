import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ConfigError } from '../../services/core/runtime/read-settings.ts'
import { readDemo } from '../../services/local/demo-tasks.ts'
import { parseFleet, readFleet } from '../../services/local/parse-fleet-description.ts'
import { planPrograms, STAGE } from '../../services/local/process-plan.ts'

const worker = { number: 1, role: 'backend', exec: 'true' }

function faultsOf(value: unknown): string {
  try {
    parseFleet(value, 'fleet.json')
  } catch (error) {
    assert.ok(error instanceof ConfigError)
    return error.message
  }
  throw new Error('it was accepted')
}

test('a fleet file is read with its defaults', () => {
  const fleet = parseFleet({ workers: [worker] }, '/etc/fleet.json')
  assert.deepEqual(fleet.listen, { host: '127.0.0.1', port: 7433 })
  assert.equal(fleet.remote, null)
  assert.equal(fleet.branch, 'main')
  assert.equal(fleet.orchestrator.agent, 'orchestrator')
  assert.deepEqual(fleet.workers[0], {
    ...worker,
    client: null,
    agent: 's2-worker-1',
    wake: null,
    settings: {},
    folder: null,
    stdin: 'json',
  })
})

test('all that is wrong is told at once, with what was meant', () => {
  const faults = faultsOf({
    brigde: {},
    bridge: { listen: 'everywhere' },
    credentials: { branch: '../x' },
    settings: { S2_SILENT_AFTR: '5s', S2_LEASE: 'long', S2_STATE: '/x' },
    workers: [
      { number: 1, rolle: 'backend' },
      { number: 1, role: 'tests', settings: { S2_BEAT: '1y' } },
      { number: -3, role: '' },
      'five',
    ],
  })
  for (const expected of [
    /there is no field "brigde"; did you mean bridge\?/,
    /bridge\.listen="everywhere" must be host:port/,
    /credentials: branch="\.\.\/x" must be a branch name/,
    /S2_SILENT_AFTR is not a setting; did you mean S2_SILENT_AFTER\?/,
    /S2_LEASE="long" is not a duration; for example 5m/,
    /S2_STATE cannot be set here/,
    /worker 1: there is no field "rolle"; did you mean role\?/,
    /worker 1: role is missing/,
    /two workers have the number 1/,
    /worker 2, settings: S2_BEAT="1y" is not a duration/,
    /worker 3: number must be a whole number/,
    /worker 4: must be an object/,
  ]) {
    assert.match(faults, expected)
  }
  assert.match(faultsOf({}), /the fleet has no workers/)
  assert.match(faultsOf([]), /the fleet: must be an object/)
})

test('a file that is missing or no JSON is told as such', () => {
  assert.throws(() => readFleet('/nonexistent/fleet.json'), /the fleet file \/nonexistent\/fleet\.json is not there/)
  assert.throws(() => readFleet('Makefile'), /the fleet file Makefile is not JSON/)
})

test('a fleet file with a byte order mark is read; UTF-16 and cut UTF-8 are told as such', () => {
  const folder = mkdtempSync(join(tmpdir(), 's2-fleet-'))
  const path = join(folder, 'fleet.json')
  const text = JSON.stringify({ workers: [{ ...worker, exec: 'echo é' }] }, null, 1)
  const read = (bytes: Buffer | string): ReturnType<typeof readFleet> => {
    writeFileSync(path, bytes)
    return readFleet(path)
  }
  for (const each of [text, `\ufeff${text}`, `\ufeff${text.replaceAll('\n', '\r\n')}`]) {
    assert.equal(read(each).workers[0]?.exec, 'echo é')
  }
  assert.throws(() => read(Buffer.from(`\ufeff${text}`, 'utf16le')), /the fleet file .* is UTF-16: save it as UTF-8/)
  assert.throws(() => read(Buffer.from(text, 'latin1')), /the fleet file .* is not UTF-8 \(line 6\): save it as UTF-8/)
  writeFileSync(path, Buffer.from('[\n"é"').subarray(0, -2))
  const fleet = parseFleet({ workers: [worker] }, path)
  assert.throws(() => readDemo(path, fleet), /the demo's tasks .* is not UTF-8 \(line 2\)/)
  writeFileSync(path, '\ufeff[{ "role": "backend", "description": "x" }]')
  assert.equal(readDemo(path, fleet).length, 1)
  rmSync(folder, { recursive: true })
})

test('each agent has a state folder of its own, and nothing shared but an address and a remote', () => {
  const fleet = parseFleet(
    {
      settings: { S2_BEAT: '2s', S2_SILENT_AFTER: '9s' },
      orchestrator: { wake: 'true' },
      workers: [
        { ...worker, settings: { S2_BEAT: '3s' }, wake: 'true' },
        { number: 2, role: 'tests' },
      ],
    },
    '/etc/fleet.json',
  )
  const env = { PATH: '/bin', S2_SILENT_AFTER: '7s', S2_STATE: '/elsewhere', S2_STORE: 'sqlite:/elsewhere' }
  const plans = planPrograms(fleet, { state: '/srv/f', folder: '/src', env })
  const names = plans.map(({ agent, program }) => `${agent} ${program}`)
  assert.deepEqual(names, [
    'orchestrator bridge',
    'orchestrator watchdog',
    'orchestrator cred-sync',
    'orchestrator keepalive',
    'orchestrator fs-watcher',
    's2-worker-1 cred-sync',
    's2-worker-1 keepalive',
    's2-worker-1 fs-watcher',
    's2-worker-1 worker',
    's2-worker-2 cred-sync',
    's2-worker-2 keepalive',
  ])
  assert.equal(plans[0]?.stage, STAGE.bridge)
  for (const { agent, env: given } of plans) {
    assert.equal(given.S2_STATE, agent === 'orchestrator' ? '/srv/f' : `/srv/f/workers/${agent}`)
    assert.equal(given.S2_SILENT_AFTER, '7s', 'the environment wins over the fleet file')
    assert.equal(given.S2_BEAT, agent === 's2-worker-1' ? '3s' : '2s', 'an agent’s setting wins over the fleet’s')
    assert.equal(given.PATH, '/bin')
  }
  const opens = plans.filter(({ env: given }) => given.S2_STORE === 'sqlite:/elsewhere').map(({ program }) => program)
  assert.deepEqual(
    opens,
    ['bridge', 'watchdog', 'fs-watcher'],
    'the database of this shell is the fleet’s, for who opens it',
  )
  const sources = plans.filter(({ program }) => program === 'fs-watcher').map(({ env: given }) => given.S2_SOURCE)
  assert.deepEqual(sources, ['database', 'inbox'])
})

test('the fleet of the protocol has nine agents, and a demo task for each worker', () => {
  const fleet = readFleet('deploy/fleet/nine.json')
  assert.deepEqual(
    fleet.workers.map(({ role }) => role),
    ['backend', 'frontend', 'tests', 'docs', 'deploy', 'review', 'wsl-cli', 'cloud-codex'],
  )
  const tasks = readDemo(fleet.demo ?? '', fleet)
  for (const { role } of fleet.workers)
    assert.ok(
      tasks.some((task) => task.role === role),
      role,
    )
})

test('demo tasks for roles that nobody has are refused', () => {
  const fleet = parseFleet({ workers: [worker] }, 'fleet.json')
  assert.throws(() => readDemo('deploy/fleet/nine.tasks.json', fleet), /no worker has the role "frontend"/)
  assert.throws(() => readDemo('package.json', fleet), /must be a list of tasks/)
})

test('the command of a worker has a folder of its own, while all programs start where s2 up was called', () => {
  const fleet = parseFleet({ workers: [{ ...worker, folder: 'app' }] }, '/etc/fleet.json')
  const plans = planPrograms(fleet, { state: '/state', folder: '/here', env: {} })
  assert.deepEqual(new Set(plans.map(({ folder }) => folder)), new Set(['/here']))
  assert.equal(plans.find(({ program }) => program === 'worker')?.argv.at(-1), '--folder=/etc/app')
})

test('a worker may have the text of its task alone on standard input', () => {
  const texts = { ...worker, stdin: 'text' }
  const fleet = parseFleet({ workers: [texts] }, '/etc/fleet.json')
  const plan = planPrograms(fleet, { state: '/state', folder: '/here', env: {} }).find(
    ({ program }) => program === 'worker',
  )
  assert.deepEqual(plan?.argv.slice(-2), ['--exec=true', '--stdin=text'])
  assert.match(faultsOf({ workers: [{ ...worker, stdin: 'yaml' }] }), /stdin must be "json"/)
  assert.match(
    faultsOf({ workers: [{ ...worker, exec: '[""]' }] }),
    /exec .* must be a JSON list of texts, the program first/,
  )
})

test('a worker may be a client that S2 drives, in place of a command', () => {
  const driven = { number: 1, role: 'backend', agent: 'claude', model: 'opus' }
  const allowed = { permissionMode: 'acceptEdits', allowedTools: ['Bash(npm test)', 'WebFetch'] }
  const budget = { task: '2 USD', day: '20 USD' }
  const fleet = parseFleet({ workers: [{ ...driven, ...allowed, budget }] }, '/etc/fleet.json')
  const plan = planPrograms(fleet, { state: '/state', folder: '/here', env: {} }).find(
    ({ program }) => program === 'worker',
  )
  assert.deepEqual(plan?.argv.slice(-7), [
    '--agent=claude',
    '--model=opus',
    '--permission-mode=acceptEdits',
    '--task-budget=2 USD',
    '--day-budget=20 USD',
    '--allowed-tool=Bash(npm test)',
    '--allowed-tool=WebFetch',
  ])
  for (const [fields, fault] of [
    [{ ...driven, exec: 'true' }, /worker 1: exec and agent exclude each other/],
    [{ ...driven, agent: 'cluade' }, /there is no agent "cluade" that S2 drives: it is claude or codex/],
    [{ ...driven, model: '--settings={}' }, /"--settings=\{\}" is no name of a model/],
    [{ ...driven, permissionMode: '-x' }, /one of its own, for example acceptEdits/],
    [{ ...driven, agent: 'codex', permissionMode: 'acceptEdits' }, /its sandbox mode, one of read-only/],
    [{ ...driven, agent: 'codex', allowedTools: ['Edit'] }, /codex has no allowed tools/],
    [{ ...driven, allowedTools: ['--x'] }, /"--x" is no tool/],
    [{ ...driven, budget: { task: '2 EUR' } }, /worker 1, budget: task: "2 EUR" is no budget/],
    [{ ...driven, budget: { month: '2 USD' } }, /there is no field "month"/],
    [{ ...driven, agent: 'codex', budget }, /codex says tokens and no cost/],
    [{ ...worker, model: 'opus' }, /model, permissionMode, allowedTools and budget are for an agent/],
    [{ ...worker, budget }, /model, permissionMode, allowedTools and budget are for an agent/],
  ] as const)
    assert.match(faultsOf({ workers: [fields] }), fault)
})
