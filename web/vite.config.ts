import { defineConfig } from "vitest/config";

// `make web-dev` serves the source with reload; requests to the API go to a running server.
const server = process.env["IMAGE_POSTER_URL"] ?? "http://127.0.0.1:8080";
const api = ["/posts", "/comments", "/uploads", "/images", "/me", "/reports", "/moderation", "/limits", "/docs", "/openapi.json"];

export default defineConfig({
  // The page may have any path: all its URLs are relative.
  base: "./",
  // Preact's `h` without a plugin for it.
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: Object.fromEntries(api.map((path) => [path, server])) },
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  test: { include: ["tests/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
});
