import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  credentialsFolder,
  noteRenewal,
  publishCredential,
  readCredentials,
  removeCredential,
} from '#spool/credentials.ts'
import { makeCertificate } from '../../bridge/certificate.ts'
import { beforeEachCall } from './file-system-calls.ts'
import { credential, OTHER, READER, tempState } from './sample.ts'

test('credentials are published whole, for their owner alone, and read back', async () => {
  using home = tempState()
  const none = await readCredentials(home.state)
  assert.deepEqual(none, { credentials: [], faults: [], doubtful: [], exists: false })
  await publishCredential(home.state, credential())
  await publishCredential(home.state, credential({ session: OTHER, bridgeUrl: 'https://bridge.example.org' }))
  await publishCredential(home.state, credential({ token: 'n'.repeat(64) }))
  const { credentials, faults } = await readCredentials(home.state)
  assert.deepEqual(credentials, [
    credential({ token: 'n'.repeat(64) }),
    credential({ session: OTHER, bridgeUrl: 'https://bridge.example.org' }),
  ])
  assert.deepEqual(faults, [])
  const folder = credentialsFolder(home.state)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  assert.deepEqual(readdirSync(folder).sort(), ['conv_0123456789abcdef-b.json', 'conv_fedcba9876543210-b.json'])
  assert.equal(statSync(join(folder, 'conv_0123456789abcdef-b.json')).mode & 0o777, 0o600)
  await removeCredential(home.state, READER)
  await removeCredential(home.state, READER)
  assert.deepEqual(
    (await readCredentials(home.state)).credentials.map(({ session }) => session),
    [OTHER],
  )
})

test('the authority of the bridge is kept with the credential', async () => {
  using home = tempState()
  const { cert, key } = makeCertificate(new Date())
  await publishCredential(home.state, credential({ bridgeCa: cert }))
  assert.deepEqual((await readCredentials(home.state)).credentials, [credential({ bridgeCa: cert })])
  await publishCredential(home.state, credential({ bridgeCa: cert + key }))
  const { credentials, faults } = await readCredentials(home.state)
  assert.deepEqual(credentials, [])
  assert.match(faults.join(), /-b\.json has a bridgeCa that holds a private key/)
})

test('one whose time is over is a fault where the time is asked for, unless it was renewed', async () => {
  using home = tempState()
  await publishCredential(home.state, credential({ expiresAt: 5_000 }))
  assert.equal((await readCredentials(home.state, 4_999)).credentials.length, 1)
  assert.equal((await readCredentials(home.state)).credentials.length, 1)
  const late = await readCredentials(home.state, 5_000)
  assert.deepEqual(late.credentials, [])
  assert.match(late.faults.join(), /conv_0123456789abcdef-b\.json expired at 1970-01-01T00:00:05\.000Z/)
  await noteRenewal(home.state, READER, 8_000)
  assert.equal((await readCredentials(home.state, 7_999)).credentials[0]?.expiresAt, 8_000)
  // Whoever publishes anew neither knows of the renewal nor undoes it.
  await publishCredential(home.state, credential({ expiresAt: 5_000 }))
  assert.equal((await readCredentials(home.state, 7_999)).credentials[0]?.expiresAt, 8_000)
  writeFileSync(join(credentialsFolder(home.state), 'conv_0123456789abcdef-b.renewed'), 'scribble')
  assert.equal((await readCredentials(home.state)).credentials[0]?.expiresAt, 5_000)
})

test('links, open files, and malformed ones are refused with a reason that shows no secret', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  const secret = 's3cret'.repeat(10)
  await publishCredential(home.state, credential({ token: secret }))
  const good = join(folder, 'conv_0123456789abcdef-b.json')
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text, { mode: 0o600 })
  const json = (fields: object): string => JSON.stringify({ ...credential({ token: secret }), ...fields })
  renameSync(good, join(home.state, 'elsewhere'))
  symlinkSync(join(home.state, 'elsewhere'), good)
  writeFileSync(join(folder, 'conv_00000000000000a1-b.json'), json({}), { mode: 0o644 })
  chmodSync(join(folder, 'conv_00000000000000a1-b.json'), 0o644)
  put('conv_00000000000000a2-b.json', json({ session: READER }))
  put('conv_00000000000000a3-b.json', json({}).slice(0, 80))
  put('conv_00000000000000a4-b.json', json({ session: 'conv_00000000000000a4/b', token: 'short' }))
  put('conv_00000000000000a5-b.json', json({ session: 'conv_00000000000000a5/b', bridgeUrl: 'file:///etc/passwd' }))
  put('conv_00000000000000a6-b.json', json({ session: 'conv_00000000000000a6/b', expiresAt: '2030' }))
  put('conv_00000000000000a7-b.json', json({ session: '../../x/b' }))
  put('conv_00000000000000a8-b.json', `"${secret}${'x'.repeat(70_000)}"`)
  put('conv_00000000000000a9-b.json', '')
  mkdirSync(join(folder, 'conv_00000000000000b1-b.json'))
  put('.conv_0123456789abcdef-b.json.123.draft', secret)
  put('README', secret)
  const { credentials, faults, doubtful, exists } = await readCredentials(home.state, 2_000)
  assert.deepEqual(credentials, [])
  assert.equal(exists, true)
  const reasons = [
    /a1-b\.json may be read by others \(mode 644\): chmod 600 it/,
    /a2-b\.json is not named after its session/,
    /a3-b\.json is not JSON; it may be cut short/,
    /a4-b\.json has no usable token/,
    /a5-b\.json has no http or https bridgeUrl/,
    /a6-b\.json has no expiresAt/,
    /a7-b\.json names no session/,
    /a8-b\.json has \d+ bytes; 65536 are allowed/,
    /a9-b\.json is empty/,
    /b1-b\.json is not a plain file/,
    /conv_0123456789abcdef-b\.json is a symbolic link/,
  ]
  assert.equal(faults.length, reasons.length, faults.join('\n'))
  for (const reason of reasons)
    assert.ok(
      faults.some((fault) => reason.test(fault)),
      `${reason}`,
    )
  assert.equal(doubtful.length, reasons.length)
  assert.ok(doubtful.includes(READER))
  assert.ok(!faults.join().includes('s3cret'))
})

test('a folder that is none is an error and not an empty one', async () => {
  using home = tempState()
  writeFileSync(credentialsFolder(home.state), '')
  await assert.rejects(readCredentials(home.state), { code: 'unavailable' })
  await assert.rejects(publishCredential(home.state, credential()), { code: 'unavailable' })
  rmSync(credentialsFolder(home.state))
  await publishCredential(home.state, credential())
})

test('a renewal moves the end of a credential further away, and never nearer', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  const end = async (): Promise<number | undefined> => (await readCredentials(home.state)).credentials[0]?.expiresAt
  await publishCredential(home.state, credential({ expiresAt: 5_000 }))
  await noteRenewal(home.state, READER, 4_000)
  assert.equal(await end(), 5_000)
  await noteRenewal(home.state, READER, 6_000)
  assert.equal(await end(), 6_000)
  const path = join(folder, 'conv_0123456789abcdef-b.renewed')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  for (const text of ['{"expiresAt": "9000"}', '{"expiresAt": 1e999}', '{}', '[]', '', 'x'.repeat(70_000)]) {
    writeFileSync(path, text)
    assert.equal(await end(), 5_000, text.slice(0, 40))
  }
  await removeCredential(home.state, READER)
  assert.deepEqual(readdirSync(folder), [], 'it goes with its credential')
})

test('what the disk refuses is told with what was done, and for whom', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  for (const ending of ['json', 'renewed']) {
    mkdirSync(join(folder, `conv_0123456789abcdef-b.${ending}`), { recursive: true })
    const removing = { code: 'unavailable', message: /^removing the credential of conv_0123456789abcdef\/b failed/ }
    await assert.rejects(removeCredential(home.state, READER), removing)
    rmSync(folder, { recursive: true })
  }
  writeFileSync(folder, '')
  await assert.rejects(noteRenewal(home.state, READER, 1), {
    code: 'unavailable',
    message: /^noting the renewal of conv_0123456789abcdef\/b failed/,
  })
  await assert.rejects(publishCredential(home.state, credential()), { message: /^publishing the credential of / })
  await assert.rejects(readCredentials(home.state), { message: /^looking into credentials failed/ })
})

test('what is removed is gone for good: the names are synced after it, and a disk that cannot is told of', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  await removeCredential(home.state, READER)
  await publishCredential(home.state, credential())
  await noteRenewal(home.state, READER, 9_000)
  const left: string[][] = []
  {
    using _calls = beforeEachCall((name, [opened]) => {
      if (name === 'openSync' && opened === folder) left.push(readdirSync(folder))
    })
    await removeCredential(home.state, READER)
  }
  assert.deepEqual(left, [[]])
  using _calls = beforeEachCall((name, [opened]) => {
    if (name === 'openSync' && opened === folder) throw Object.assign(new Error('EIO'), { code: 'EIO' })
  })
  await assert.rejects(removeCredential(home.state, READER), {
    code: 'unavailable',
    message: /^removing the credential of conv_0123456789abcdef\/b failed: the disk reports an error/,
  })
})

test('a file that goes while it is looked at is no fault', async () => {
  using home = tempState()
  await publishCredential(home.state, credential())
  await publishCredential(home.state, credential({ session: OTHER }))
  const path = join(credentialsFolder(home.state), 'conv_0123456789abcdef-b.json')
  {
    using _calls = beforeEachCall((name, [opened]) => {
      if (name === 'open' && opened === path) unlinkSync(path)
    })
    const { credentials, faults, doubtful } = await readCredentials(home.state)
    assert.deepEqual([credentials.map(({ session }) => session), faults, doubtful], [[OTHER], [], []])
  }
})

test('each field is taken up to its limit, and refused beyond it by its name', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  mkdirSync(folder, { mode: 0o700 })
  const path = join(folder, 'conv_0123456789abcdef-b.json')
  const faultOf = async (fields: object, text = JSON.stringify({ ...credential(), ...fields })): Promise<string> => {
    writeFileSync(path, text, { mode: 0o600 })
    const { credentials, faults } = await readCredentials(home.state)
    assert.equal(credentials.length + faults.length, 1)
    return faults[0]?.replace('credentials/conv_0123456789abcdef-b.json ', '') ?? 'none'
  }
  const pin = `${'A'.repeat(43)}=`
  for (const fields of [
    { role: 'r'.repeat(400) },
    { token: 't'.repeat(16) },
    { token: 't'.repeat(512) },
    { bridgePin: pin },
    { bridgeUrl: 'https://bridge.test/path' },
  ])
    assert.equal(await faultOf(fields), 'none', JSON.stringify(fields))
  for (const [fields, fault] of [
    [{ role: 'r'.repeat(401) }, 'has no role'],
    [{ role: '' }, 'has no role'],
    [{ role: 7 }, 'has no role'],
    [{ agent: undefined }, 'has no agent'],
    [{ session: undefined }, 'has no session'],
    [{ session: 'conv_0123456789abcdef/c' }, 'names no session'],
    [{ token: 't'.repeat(15) }, 'has no usable token'],
    [{ token: 't'.repeat(513) }, 'has no usable token'],
    [{ token: `${'t'.repeat(20)} ` }, 'has no usable token'],
    [{ token: 7 }, 'has no usable token'],
    [{ token: ['t'.repeat(64)] }, 'has no usable token'],
    [{ bridgeUrl: 'no address' }, 'has no http or https bridgeUrl'],
    [{ bridgeUrl: 'ftp://bridge.test' }, 'has no http or https bridgeUrl'],
    [{ bridgeCa: 7 }, 'has a bridgeCa that is no text'],
    [{ bridgeCa: 'x' }, 'has a bridgeCa that holds no certificate in PEM'],
    [{ bridgePin: 'x' }, 'has a bridgePin that is no SHA-256 in base64'],
    [{ createdAt: '1' }, 'has no createdAt'],
    [{ expiresAt: null }, 'has no expiresAt'],
  ] as const)
    assert.equal(await faultOf(fields), fault, JSON.stringify(fields))
  const endless = JSON.stringify(credential()).replace('9000', '1e999')
  assert.equal(await faultOf({}, endless), 'has no expiresAt')
  await publishCredential(home.state, credential({ bridgePin: pin }))
  assert.deepEqual((await readCredentials(home.state)).credentials, [credential({ bridgePin: pin })])
})

test('a file that group or others may touch is refused by any of these bits', async () => {
  using home = tempState()
  await publishCredential(home.state, credential())
  const path = join(credentialsFolder(home.state), 'conv_0123456789abcdef-b.json')
  for (const mode of [0o640, 0o620, 0o610, 0o604, 0o602, 0o601]) {
    chmodSync(path, mode)
    const { faults } = await readCredentials(home.state)
    assert.match(faults.join(), new RegExp(`may be read by others \\(mode ${mode.toString(8)}\\)`))
  }
  for (const mode of [0o600, 0o700]) {
    chmodSync(path, mode)
    assert.equal((await readCredentials(home.state)).credentials.length, 1)
  }
})

test('files are taken by the order of their names; a fault names its file harmlessly, and its session where it has one', async () => {
  using home = tempState()
  const folder = credentialsFolder(home.state)
  await publishCredential(home.state, credential({ session: OTHER }))
  await publishCredential(home.state, credential())
  await publishCredential(home.state, credential({ session: 'conv_0123456789abcdef/a' }))
  const put = (name: string): void => writeFileSync(join(folder, name), '', { mode: 0o600 })
  for (const name of [
    'conv_1-a.json',
    'conv_1-c.json',
    `odd\u001b[2J name${'x'.repeat(100)}.json`,
    '.hidden.json',
    'x.txt',
  ])
    put(name)
  const { credentials, faults, doubtful } = await readCredentials(home.state)
  assert.deepEqual(
    credentials.map(({ session }) => session),
    ['conv_0123456789abcdef/a', READER, OTHER],
  )
  assert.deepEqual(faults, [
    'credentials/conv_1-a.json is empty',
    'credentials/conv_1-c.json is empty',
    `credentials/odd??2J?name${'x'.repeat(88)} is empty`,
  ])
  assert.deepEqual(doubtful, ['conv_1/a'])
})
