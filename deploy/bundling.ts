import type { BuildOptions, Plugin } from 'esbuild'

// CommonJS packages inside an ES module still ask for these.
const banner = `import { createRequire as createRequireForBundle } from 'node:module'
const require = createRequireForBundle(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname
`

/**
 * Fetches some of Node's own modules by member, and when the member is wanted. An ES import reads everything that a
 * module exports, which in `http` loads a whole fetch and WebSocket client: 6 MB in every service. TLS costs 3 MB more,
 * though most never speak it; nobody here compresses.
 */
const lateBuiltins: Plugin = {
  name: 'late builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?(http|https|tls|zlib|child_process)$/ }, ({ path }) => ({
      path: path.replace('node:', ''),
      namespace: 'late',
    }))
    onLoad({ filter: /./, namespace: 'late' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) ?? {})
      // docker-modem makes a module of its own that inherits from this one, and gives it another `request`.
      const members = names.map((name) => {
        return `get ${name}() { return process.getBuiltinModule('${path}').${name} },
          set ${name}(value) { Object.defineProperty(this, '${name}', { value, writable: true }) },`
      })
      return { contents: `module.exports = {${members.join('\n')}}` }
    })
  },
}

/**
 * What packages of ours name and nothing here reaches: who comes upon it learns that it is not there. `cron` reads our cron
 * lines, and reckons nothing: its library of calendars would weigh 1 MB in the bridge. What dockerode wants for engines
 * behind ssh and for BuildKit is 6 MB of text.
 */
const unreached: Plugin = {
  name: 'unreached',
  setup({ onResolve, onLoad }) {
    const filter = /^(luxon|@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2)$/
    onResolve({ filter }, ({ path }) => ({ path, namespace: 'unreached' }))
    onLoad({ filter, namespace: 'unreached' }, ({ path }) => ({
      contents: `module.exports = new Proxy({}, { get: () => function () { throw new Error('${path} is not bundled') } })`,
    }))
  },
}

/** How programs are bundled, each by its name and source. */
export function bundling(entryPoints: Readonly<Record<string, string>>) {
  return {
    entryPoints,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    banner: { js: banner },
    // Native modules find their binaries beside their own package.json.
    external: ['better-sqlite3', 'node-inotify', 'unix-dgram'],
    plugins: [lateBuiltins, unreached],
    // V8 keeps a program's text for as long as it runs, in twice the bytes where one comment holds a character beyond
    // Latin-1. Names stay as they are, and lines short, for whoever reads a stack.
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: 160,
    logLevel: 'warning',
  } as const satisfies BuildOptions
}
