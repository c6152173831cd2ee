import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { formatDuration, parseDuration } from '#runtime/duration.ts'
import { ConfigError, closest, demand, readSettings, withSettingsFile } from '#runtime/read-settings.ts'
import { parseAddress, rolesByRole, stallActions } from '#runtime/setting-parsers.ts'
import { PROGRAMS, SETTINGS, type Setting } from '#runtime/settings.ts'

test('durations are read and written in the words people use', () => {
  for (const [text, ms] of [
    ['250ms', 250],
    ['30s', 30_000],
    ['5m', 300_000],
    ['3h', 10_800_000],
    ['1.5s', 1500],
    ['30d', 2_592_000_000],
  ] as const) {
    assert.equal(parseDuration(text), ms)
    assert.equal(parseDuration(formatDuration(ms)), ms)
  }
  for (const bad of ['', '5', '5 s', '-5s', '5sec', '1e3s', '٥s', '99999999999s', 'Infinitys'])
    assert.throws(() => parseDuration(bad), bad)
})

test('every setting understands its own example and its own fallback', () => {
  for (const [name, setting] of Object.entries(SETTINGS) as [string, Setting][]) {
    assert.doesNotThrow(() => setting.parse(setting.example), name)
    if (setting.fallback !== undefined) assert.doesNotThrow(() => setting.parse(setting.fallback ?? ''), name)
    assert.ok(setting.about.endsWith('.') && setting.programs.length > 0, name)
    for (const program of setting.programs) assert.ok(PROGRAMS.includes(program), name)
  }
})

test('wrong settings are told together, each with its value and a good example', () => {
  const env = {
    S2_BEAT: 'five',
    S2_SILENT_AFTER: '10y',
    S2_SILNT_AFTER: '5s',
    S2_ALERT_WEBHOOK: 'ftp://user:hush@example.org',
  }
  assert.throws(
    () => readSettings(env, ['S2_BEAT', 'S2_SILENT_AFTER', 'S2_ALERT_WEBHOOK']),
    (error: unknown) => {
      assert.ok(error instanceof ConfigError)
      assert.equal(error.faults.length, 4)
      assert.match(error.message, /S2_BEAT="five" is not a duration; for example S2_BEAT=2s/)
      assert.match(error.message, /S2_SILNT_AFTER is not a setting; did you mean S2_SILENT_AFTER\?/)
      assert.doesNotMatch(error.message, /hush/)
      return true
    },
  )
})

test('values come parsed and frozen; what is left out and has no fallback is undefined', () => {
  const values = readSettings({ S2_BEAT: '2s', PATH: '/bin', S2_TASK_ID: 'x' }, ['S2_BEAT', 'S2_WORKER', 'S2_RATE'])
  assert.deepEqual({ ...values }, { S2_BEAT: 2000, S2_WORKER: undefined, S2_RATE: 100 })
  assert.ok(Object.isFrozen(values))
  assert.throws(
    () => demand('S2_WORKER', values.S2_WORKER, 'it says who'),
    /S2_WORKER is missing: it says who, for example S2_WORKER=3/,
  )
})

test('an empty text is no value for a setting that wants one', () => {
  assert.throws(() => readSettings({ S2_WORKER: '' }, ['S2_WORKER']), /whole number/)
  assert.throws(() => readSettings({ S2_WORKER: '0x10' }, ['S2_WORKER']), /whole number/)
  assert.throws(() => readSettings({ S2_STATE: '  ' }, ['S2_STATE']), /must not be empty/)
})

test('the path of a store may have blanks, and none at its end', () => {
  const good = ['sqlite:/my dir/x y.db', 'unix:/run/my dir/admin.sock', 'https://bridge.example.org', 'memory:']
  for (const url of good) assert.equal(readSettings({ S2_STORE: url }, ['S2_STORE']).S2_STORE, url)
  const bad = [
    'sqlite:',
    'sqlite:/',
    'sqlite:/x.db ',
    'sqlite:x.db',
    'sqlite:/x\n.db',
    'https://a b',
    'https://',
    'oracle:/x',
  ]
  for (const url of bad) assert.throws(() => readSettings({ S2_STORE: url }, ['S2_STORE']), ConfigError, url)
})

test('a settings file gives way to the environment and names a bad line', () => {
  const folder = mkdtempSync(join(tmpdir(), 's2-config-'))
  const path = join(folder, 's2.env')
  writeFileSync(path, '# words\nS2_BEAT=2s\nS2_HOST="my host"\n\n')
  assert.deepEqual(withSettingsFile({ S2_BEAT: '3s' }, path), { S2_BEAT: '3s', S2_HOST: 'my host' })
  writeFileSync(path, 'S2_BEAT=2s\nexport X\n')
  assert.throws(() => withSettingsFile({}, path), /s2\.env:2: not a line/)
  rmSync(folder, { recursive: true })
})

test('a settings file with Windows line ends reads like one without', () => {
  const path = join(mkdtempSync(join(tmpdir(), 's2-config-')), 's2.env')
  writeFileSync(path, '# words\r\nS2_BEAT=2s\r\n\r\nS2_HOST="my host"\r\n; more words\r\n')
  assert.deepEqual(withSettingsFile({}, path), { S2_BEAT: '2s', S2_HOST: 'my host' })
  writeFileSync(path, 'S2_BEAT=2s\r\nexport X\r\n')
  assert.throws(() => withSettingsFile({}, path), /s2\.env:2: not a line/)
  rmSync(dirname(path), { recursive: true })
})

test('a settings file with a byte order mark, in UTF-16 or with other bytes is refused with the way out', () => {
  const path = join(mkdtempSync(join(tmpdir(), 's2-config-')), 's2.env')
  const refusal = (bytes: Buffer): string => {
    writeFileSync(path, bytes)
    try {
      return JSON.stringify(withSettingsFile({}, path))
    } catch (error) {
      return (error as ConfigError).faults?.join() ?? String(error)
    }
  }
  const marked = refusal(Buffer.from('\ufeffS2_BEAT=2s\n'))
  assert.match(
    marked,
    /s2\.env begins with a byte order mark, which systemd takes for a part of the first name: sed -i /,
  )
  assert.equal(spawnSync('sh', ['-c', marked.slice(marked.indexOf('sed'))]).status, 0)
  assert.deepEqual(withSettingsFile({}, path), { S2_BEAT: '2s' })
  assert.match(refusal(Buffer.from('\ufeffS2_BEAT=2s\n', 'utf16le')), /s2\.env is UTF-16: save it as UTF-8/)
  assert.match(refusal(Buffer.from('S2_BEAT=2s\n', 'utf16le')), /is UTF-16/)
  assert.match(refusal(Buffer.from('\ufeffS2_BEAT=2s\n', 'utf16le').swap16()), /is UTF-16/)
  assert.match(
    refusal(Buffer.from('S2_BEAT=2s\nS2_HOST=café\n', 'latin1')),
    /s2\.env is not UTF-8 \(line 2\): save it as UTF-8/,
  )
  assert.equal(refusal(Buffer.from('S2_HOST=café\n')), '{"S2_HOST":"café"}')
  rmSync(dirname(path), { recursive: true })
})

test('a setting whose name took a byte order mark in the environment is told as lost', () => {
  assert.throws(
    () => readSettings({ '\ufeffS2_ROUND': '30s' }, []),
    /S2_ROUND is lost: .* begins with a byte order mark/,
  )
})

test('roles that stand in, and what is done about stalled tasks; what says two things of one is refused', () => {
  assert.deepEqual(
    [...rolesByRole('tests=review + backend, docs=any')],
    [
      ['tests', ['review', 'backend']],
      ['docs', ['any']],
    ],
  )
  for (const bad of ['tests', 'tests=', '=review', 'tests=review=docs', 'tests=review,tests=docs'])
    assert.throws(() => rolesByRole(bad), bad)
  assert.deepEqual(stallActions('tell, s2-worker-3=end'), {
    otherwise: 'tell',
    byName: new Map([['s2-worker-3', 'end']]),
  })
  assert.deepEqual(stallActions('docs=tell'), { otherwise: 'move', byName: new Map([['docs', 'tell']]) })
  for (const bad of ['stop', '=move', 'docs=stop', 'move,end', 'docs=end,docs=tell'])
    assert.throws(() => stallActions(bad), bad)
})

test('addresses of sockets', () => {
  assert.deepEqual(parseAddress('127.0.0.1:80'), { host: '127.0.0.1', port: 80 })
  assert.deepEqual(parseAddress('[::1]:80'), { host: '::1', port: 80 })
  assert.deepEqual(parseAddress('unix:/run/x.sock'), { path: '/run/x.sock' })
  for (const bad of ['80', 'x:', 'x:99999', '::1:80', 'http://x:1']) assert.throws(() => parseAddress(bad), bad)
})

test('the nearest word is offered only when it is near', () => {
  assert.equal(closest('statsu', ['status', 'send']), 'status')
  assert.equal(closest('xyzzy', ['status', 'send']), undefined)
})
